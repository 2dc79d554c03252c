// What a site holds, as a raw list: tests compare it with what was there before. It judges nothing.
package main

import (
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
)

// holdings is the raw list of what a site holds; tests compare it with what was there before.
type holdings struct {
	VMs             []namedObject `json:"vms"`
	DatastoreFiles  []string      `json:"datastoreFiles"`
	Snapshots       []namedObject `json:"snapshots"`
	Policies        []namedObject `json:"policies"`
	AttachedFilters []namedObject `json:"attachedFilters"`
}

// namedObject is an object with what it belongs to.
type namedObject struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

func (s *site) holdings() holdings {
	held := holdings{
		VMs: []namedObject{}, DatastoreFiles: []string{}, Snapshots: []namedObject{},
		Policies: []namedObject{}, AttachedFilters: []namedObject{},
	}
	registry := s.service.Context.Map
	ctx := s.newContext()
	for _, entity := range registry.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		held.VMs = append(held.VMs, namedObject{vm.Name, vm.Self.Value})
		ctx.WithLock(vm, func() {
			disks, _ := s.disksOf(vm)
			for _, d := range disks {
				if s.record(vm.Self).tap(d.key) != "" {
					held.AttachedFilters = append(held.AttachedFilters, namedObject{vm.Name, d.uuid})
				}
			}
		})
	}
	for _, reference := range registry.AllReference("VirtualMachineSnapshot") {
		snapshot := reference.Reference()
		name := snapshot.Value
		if object, ok := reference.(*simulator.VirtualMachineSnapshot); ok {
			name = snapshotVM(registry, object)
		}
		held.Snapshots = append(held.Snapshots, namedObject{name, snapshot.Value})
	}
	for _, profile := range s.customProfiles() {
		held.Policies = append(held.Policies, namedObject{profile.Name, profile.ProfileId.UniqueId})
	}
	root := filepath.Join(s.Home, "datastores")
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && filepath.Dir(path) == root || path == root {
			return nil
		}
		relative, _ := filepath.Rel(root, path)
		if entry.IsDir() {
			relative += "/"
		}
		datastore, rest, _ := strings.Cut(relative, "/")
		held.DatastoreFiles = append(held.DatastoreFiles, "["+datastore+"] "+rest)
		return nil
	})
	return held
}

// snapshotVM is the name of the VM that a snapshot is of.
func snapshotVM(registry *simulator.Registry, snapshot *simulator.VirtualMachineSnapshot) string {
	if vm, ok := registry.Get(snapshot.Vm).(mo.Entity); ok {
		return vm.Entity().Name
	}
	return snapshot.Self.Value
}
