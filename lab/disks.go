// Disks as files: descriptors carry the UUID, flat files have the disk's full size (sparse), and the
// VM's configuration always says what the descriptor says.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vmdk"
)

// disk is one virtual disk of a VM with the files behind it.
type disk struct {
	key        int32
	controller types.BaseVirtualController
	unit       int32
	file       string // datastore path of the descriptor
	flat       string // path of the data on this machine
	uuid       string // lower case with dashes
	capacity   int64
	shared     bool
	device     *types.VirtualDisk
}

// serial is what the guest sees: the 32 hexadecimal digits of the UUID.
func (d disk) serial() string { return strings.ReplaceAll(d.uuid, "-", "") }

// datastoreFile turns "[datastore1] a/b.vmdk" into the path on this machine.
func (s *site) datastoreFile(name string) (string, error) {
	var path object.DatastorePath
	if !path.FromString(name) {
		return "", refuse(&types.InvalidDatastorePath{DatastorePath: name}, "Invalid datastore path '%s'", name)
	}
	if !slices.Contains(datastoreNames, path.Datastore) {
		return "", refuse(&types.InvalidDatastore{Name: path.Datastore}, "The datastore '%s' does not exist", path.Datastore)
	}
	clean := filepath.Clean("/" + path.Path)
	return filepath.Join(s.Home, "datastores", path.Datastore, clean), nil
}

// newDiskUUID makes a UUID of the shape that vSphere gives disks.
func newDiskUUID() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:])
	copy(raw[:], []byte{0x60, 0x00, 0xc2, 0x90 | raw[3]&0x0f})
	return uuid.UUID(raw).String()
}

// normalUUID accepts any way of writing 32 hexadecimal digits.
func normalUUID(text string) (string, error) {
	digits := regexp.MustCompile(`[\s{}-]`).ReplaceAllString(strings.ToLower(text), "")
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != 16 {
		return "", refuse(&types.InvalidArgument{InvalidProperty: "uuid"}, "'%s' is no disk UUID", text)
	}
	return uuid.UUID(raw).String(), nil
}

// descriptorUUID writes a UUID as descriptors do: 60 00 C2 9f ... with one dash in the middle.
func descriptorUUID(id string) string {
	digits := strings.ReplaceAll(id, "-", "")
	pairs := make([]string, 0, 16)
	for i := 0; i+1 < len(digits); i += 2 {
		pairs = append(pairs, digits[i:i+2])
	}
	return strings.Join(pairs[:8], " ") + "-" + strings.Join(pairs[8:], " ")
}

func readDescriptor(path string) (*vmdk.Descriptor, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return vmdk.ParseDescriptor(file)
}

// writeDescriptor replaces the descriptor in one step.
func writeDescriptor(path string, descriptor *vmdk.Descriptor) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".descriptor-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if err := descriptor.Write(file); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// settleDisk makes files and descriptor of a disk agree: it has a UUID (the wanted one, its own or a
// new one), the extent names its own flat file, and the flat file has the full size.
func settleDisk(path, wanted string) (id string, capacity int64, err error) {
	descriptor, err := readDescriptor(path)
	if err != nil {
		return "", 0, err
	}
	flat := simulator.VirtualDiskBackingFileName(path)
	id, err = normalUUID(descriptor.DDB["uuid"])
	changed := err != nil
	if err != nil {
		id = newDiskUUID()
	}
	if wanted != "" && wanted != id {
		id, changed = wanted, true
	}
	for i := range descriptor.Extent {
		if descriptor.Extent[i].Info != filepath.Base(flat) {
			descriptor.Extent[i].Info, changed = filepath.Base(flat), true
		}
	}
	if changed {
		descriptor.DDB["uuid"] = descriptorUUID(id)
		if err := writeDescriptor(path, descriptor); err != nil {
			return "", 0, err
		}
	}
	info, err := os.Stat(flat)
	if err != nil {
		return "", 0, err
	}
	if info.Size() < descriptor.Capacity() {
		if err := os.Truncate(flat, descriptor.Capacity()); err != nil {
			return "", 0, err
		}
	}
	return id, descriptor.Capacity(), nil
}

// disksOf lists a VM's disks in the order of their places, and brings the VM's configuration in
// line with the descriptors. The VM's lock is held.
func (s *site) disksOf(vm *simulator.VirtualMachine) ([]disk, error) {
	devices := object.VirtualDeviceList(vm.Config.Hardware.Device)
	var found []disk
	for _, device := range devices.SelectByType((*types.VirtualDisk)(nil)) {
		d := device.(*types.VirtualDisk)
		backing, ok := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if !ok {
			continue
		}
		path, err := s.datastoreFile(backing.FileName)
		if err != nil {
			return nil, err
		}
		id, capacity, err := settleDisk(path, "")
		if err != nil {
			return nil, refuse(&types.FileNotFound{FileFault: types.FileFault{File: backing.FileName}}, "The disk %s cannot be opened", backing.FileName)
		}
		backing.Uuid = id
		d.CapacityInBytes, d.CapacityInKB = capacity, capacity/1024
		controller, _ := devices.FindByKey(d.ControllerKey).(types.BaseVirtualController)
		unit := int32(0)
		if d.UnitNumber != nil {
			unit = *d.UnitNumber
		}
		found = append(found, disk{
			key: d.Key, controller: controller, unit: unit, file: backing.FileName,
			flat: simulator.VirtualDiskBackingFileName(path), uuid: id, capacity: capacity,
			shared: backing.Sharing == string(types.VirtualDiskSharingSharingMultiWriter), device: d,
		})
	}
	slices.SortFunc(found, func(a, b disk) int { return strings.Compare(a.place(), b.place()) })
	return found, nil
}

// place orders disks by controller kind, bus and unit.
func (d disk) place() string {
	kind, bus := 9, int32(0)
	if d.controller != nil {
		bus = d.controller.GetVirtualController().BusNumber
		if _, isSCSI := d.controller.(types.BaseVirtualSCSIController); isSCSI {
			kind = 1
		}
	}
	return fmt.Sprintf("%d/%04d/%04d/%d", kind, bus, d.unit, d.key)
}

// onSCSI tells the places a migration's disks can have from the state disk's.
func (d disk) onSCSI() bool {
	_, ok := d.controller.(types.BaseVirtualSCSIController)
	return ok
}
