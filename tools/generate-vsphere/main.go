// Generates vsphere/types.gen.ts and vsphere/metadata.gen.ts from govmomi's description of the vSphere API.
//
//	go run . [-check] [-out ../../vsphere]
//
// With -check it compares instead of writing and exits 1 when the committed files are stale.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const module = "github.com/vmware/govmomi"

func main() {
	check := flag.Bool("check", false, "compare with the committed files instead of writing them")
	out := flag.String("out", "../../vsphere", "folder of the generated files")
	flag.Parse()
	if err := run(*out, *check); err != nil {
		fmt.Fprintln(os.Stderr, "generate-vsphere:", err)
		os.Exit(1)
	}
}

func run(out string, check bool) error {
	dir, version, err := locateModule()
	if err != nil {
		return err
	}
	s, err := readSchema(dir)
	if err != nil {
		return err
	}
	names, err := s.reachable()
	if err != nil {
		return err
	}
	header := strings.ReplaceAll(fileHeader, "VERSION", version)
	files := map[string]string{
		"types.gen.ts":    header + s.writeTypes(names),
		"metadata.gen.ts": header + s.writeMetadata(names),
	}
	for name, content := range files {
		path := filepath.Join(out, name)
		if !check {
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				return err
			}
			continue
		}
		committed, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(committed, []byte(content)) {
			return fmt.Errorf("%s is stale: run `go run .` in tools/generate-vsphere and commit it", path)
		}
	}
	return nil
}

// locateModule downloads the schema's source into the module cache when it is not there yet.
func locateModule() (dir, version string, err error) {
	if out, err := exec.Command("go", "mod", "download", module).CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("download %s: %s", module, bytes.TrimSpace(out))
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}} {{.Version}}", module).Output()
	if err != nil {
		return "", "", fmt.Errorf("locate %s: %w", module, err)
	}
	parts := strings.Fields(string(out))
	if len(parts) != 2 {
		return "", "", fmt.Errorf("locate %s: unexpected answer %q", module, out)
	}
	return parts[0], parts[1], nil
}
