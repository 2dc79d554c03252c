// The content of a scenario's disks: a file system with bytes that do not compress, written directly
// into the flat file before anyone else uses it.
package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	seedFile       = "seed.bin"
	seedChunkBytes = 1 << 20
	nvramBytes     = 8684
	fileSystemTool = "/usr/sbin/mke2fs" // not on every user's PATH
)

// writeNvram gives the VM a firmware memory of its own, so that losing it would be seen.
func (s *site) writeNvram(file, name string) error {
	path, err := s.datastoreFile(file)
	if err != nil {
		return err
	}
	return writeSeed(path, name+"/nvram", nvramBytes)
}

// createScenarioDisk makes a disk; the first one, and any with a seed, gets a file system.
func (s *site) createScenarioDisk(ctx context.Context, datacenter *object.Datacenter, file, vm string, k int, d scenarioDisk) error {
	capacity, seed, err := d.sizes()
	if err != nil {
		return err
	}
	task, err := object.NewVirtualDiskManager(s.client).CreateVirtualDisk(ctx, file, datacenter, &types.FileBackedVirtualDiskSpec{
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: string(types.VirtualDiskTypeThin), AdapterType: string(types.VirtualDiskAdapterTypeLsiLogic)},
		CapacityKb:      capacity / 1024,
	})
	if err != nil {
		return err
	}
	if err := task.Wait(ctx); err != nil {
		return err
	}
	if k > 0 && seed == 0 {
		return nil
	}
	path, err := s.datastoreFile(file)
	if err != nil {
		return err
	}
	return makeFileSystem(s.path("tmp"), simulator.VirtualDiskBackingFileName(path), fmt.Sprintf("%s/%d", vm, k), seed)
}

// makeFileSystem puts ext4 on the disk, holding a file of incompressible bytes that depend on the
// name alone, so that two labs have the same content.
func makeFileSystem(scratch, flat, name string, seedBytes int64) error {
	folder, err := os.MkdirTemp(scratch, "seed-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if seedBytes > 0 {
		if err := writeSeed(filepath.Join(folder, seedFile), name, seedBytes); err != nil {
			return err
		}
	}
	command := exec.Command(fileSystemTool, "-q", "-F", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,nodiscard", "-d", folder, flat)
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.300s", fileSystemTool, err, said)
	}
	return nil
}

// writeSeed writes an AES keystream.
func writeSeed(path, name string, size int64) error {
	key := sha256.Sum256([]byte("lab seed " + name))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return err
	}
	stream := cipher.NewCTR(block, make([]byte, aes.BlockSize))
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	zero, chunk := make([]byte, seedChunkBytes), make([]byte, seedChunkBytes)
	for left := size; left > 0; {
		n := min(left, seedChunkBytes)
		stream.XORKeyStream(chunk[:n], zero[:n])
		if _, err := file.Write(chunk[:n]); err != nil {
			return err
		}
		left -= n
	}
	return file.Close()
}
