package main

import (
	"os"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

func (s *testSite) setUUID(file, id string) error {
	_, err := methods.SetVirtualDiskUuid(s.ctx, s.client.Client, &types.SetVirtualDiskUuid{
		This: *s.client.ServiceContent.VirtualDiskManager, Name: file, Datacenter: &s.places.datacenter, Uuid: id,
	})
	return err
}

func TestDisksKeepTheirUUID(t *testing.T) {
	s := newTestSite(t, "127.22", destinationSite)
	manager := object.NewVirtualDiskManager(s.client.Client)
	files := object.NewFileManager(s.client.Client)
	s.must(files.MakeDirectory(s.ctx, "[datastore1] a", s.dc, false))
	s.must(files.MakeDirectory(s.ctx, "[datastore2] b", s.dc, false))
	s.done(s.createDisk("[datastore1] a/disk.vmdk", 1<<26))
	first := s.uuidOf("[datastore1] a/disk.vmdk")

	s.done(manager.MoveVirtualDisk(s.ctx, "[datastore1] a/disk.vmdk", s.dc, "[datastore2] b/moved.vmdk", s.dc, false))
	if got := s.uuidOf("[datastore2] b/moved.vmdk"); got != first {
		t.Fatalf("after a move: %s, not %s", got, first)
	}
	path, err := s.datastoreFile("[datastore2] b/moved.vmdk")
	s.must(err)
	info, err := os.Stat(simulator.VirtualDiskBackingFileName(path))
	s.must(err)
	if info.Size() != 1<<26 {
		t.Fatalf("flat file has %d bytes", info.Size())
	}
	descriptor, err := os.ReadFile(path)
	s.must(err)
	if !strings.Contains(string(descriptor), `"moved-flat.vmdk"`) || !strings.Contains(string(descriptor), "ddb.uuid") {
		t.Fatalf("descriptor:\n%s", descriptor)
	}

	s.done(manager.CopyVirtualDisk(s.ctx, "[datastore2] b/moved.vmdk", s.dc, "[datastore1] a/copy.vmdk", s.dc, nil, false))
	if got := s.uuidOf("[datastore1] a/copy.vmdk"); got == first {
		t.Fatal("a copy has the UUID of the original")
	}
	s.must(s.setUUID("[datastore1] a/copy.vmdk", "60 00 C2 9A 00 11 22 33-44 55 66 77 88 99 AA BB"))
	if got := s.uuidOf("[datastore1] a/copy.vmdk"); got != "6000c29a-0011-2233-4455-66778899aabb" {
		t.Fatalf("after setting: %s", got)
	}
	if s.setUUID("[datastore1] a/copy.vmdk", "nonsense") == nil {
		t.Fatal("took nonsense for a UUID")
	}
	s.done(manager.DeleteVirtualDisk(s.ctx, "[datastore1] a/copy.vmdk", s.dc))
	for _, name := range s.holdings().DatastoreFiles {
		if strings.Contains(name, "copy") {
			t.Fatalf("%s is left", name)
		}
	}
}

func TestAttachedDiskShowsTheDescriptorsUUID(t *testing.T) {
	s := newTestSite(t, "127.22", destinationSite)
	vm := s.addVM(smallVM("vm", 1))
	s.done(s.createDisk("[datastore1] vm/more.vmdk", 1<<24))
	const id = "6000c290-aaaa-bbbb-cccc-ddddeeeeffff"
	s.done(s.reconfigure(vm, attachment("[datastore1] vm/more.vmdk", s.firstDisk(vm).ControllerKey, 1)))
	s.must(s.setUUID("[datastore1] vm/more.vmdk", id))
	disks := s.devices(vm).SelectByType((*types.VirtualDisk)(nil))
	added := disks[1].(*types.VirtualDisk)
	if backingOf(added).Uuid != id || added.CapacityInBytes != 1<<24 {
		t.Fatalf("uuid %s, capacity %d", backingOf(added).Uuid, added.CapacityInBytes)
	}
	s.done(s.reconfigure(vm, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: added}))
	if got := s.uuidOf("[datastore1] vm/more.vmdk"); got != id {
		t.Fatalf("after detaching: %s", got)
	}
}
