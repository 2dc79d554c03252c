//go:build generatesources

// Keeps the schema's source in go.mod without compiling it: the generator reads its text.
package main

import (
	_ "github.com/vmware/govmomi/pbm/types"
	_ "github.com/vmware/govmomi/vim25/mo"
	_ "github.com/vmware/govmomi/vim25/types"
)
