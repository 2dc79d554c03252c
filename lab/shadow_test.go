package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// makeISO writes an image with one file.
func makeISO(t *testing.T, target, name string, content []byte) {
	t.Helper()
	root := t.TempDir()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o755); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("xorriso", "-as", "mkisofs", "-quiet", "-r", "-o", target, root).CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v: %s", err, said)
	}
}

func TestFilesAreFoundInImages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.iso")
	makeISO(t, path, "folder-with-a-long-name/Some-File.tar.gz", []byte("content"))
	out := filepath.Join(t.TempDir(), "out")
	if err := (image{path}).extract("/folder-with-a-long-name/Some-File.tar.gz", out, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(out); string(got) != "content" {
		t.Fatalf("got %q", got)
	}
	if (image{path}).has("/none") || (image{path}).has("/folder-with-a-long-name") {
		t.Fatal("found what is not there")
	}
}

// shadowVM makes a VM with both images, a state disk on SATA and one disk to receive.
func (s *testSite) shadowVM() *object.VirtualMachine {
	s.t.Helper()
	s.must(object.NewFileManager(s.client.Client).MakeDirectory(s.ctx, "[datastore1] shadow", s.dc, false))
	folder, err := s.datastoreFile("[datastore1] shadow")
	s.must(err)
	makeISO(s.t, filepath.Join(folder, "agent.iso"), agentFile, fakeProgram(s.t))
	makeISO(s.t, filepath.Join(folder, "configuration.iso"), configurationFile, []byte("{}"))
	s.done(s.createDisk("[datastore1] shadow/state.vmdk", 1<<24))
	s.done(s.createDisk("[datastore1] shadow/data.vmdk", 1<<24))
	drive := func(key int32, file string) types.BaseVirtualDevice {
		return &types.VirtualCdrom{VirtualDevice: types.VirtualDevice{
			Key: key, ControllerKey: -2, Connectable: &types.VirtualDeviceConnectInfo{StartConnected: true},
			Backing: &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file}},
		}}
	}
	scsi := &types.ParaVirtualSCSIController{}
	scsi.Key, scsi.SharedBus = -1, types.VirtualSCSISharingNoSharing
	sata := &types.VirtualAHCIController{}
	sata.Key = -2
	card := &types.VirtualVmxnet3{}
	card.Key = -9
	card.Backing = &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "VM Network"}}
	devices := object.VirtualDeviceList{scsi, sata, drive(-3, "[datastore1] shadow/agent.iso"), drive(-4, "[datastore1] shadow/configuration.iso"), card}
	changes, err := devices.ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	s.must(err)
	state := attachment("[datastore1] shadow/state.vmdk", -2, 5)
	data := attachment("[datastore1] shadow/data.vmdk", -1, 0)
	state.Device.GetVirtualDevice().Key, data.Device.GetVirtualDevice().Key = -20, -21
	info := s.done(object.NewFolder(s.client.Client, s.places.vmFolder).CreateVM(s.ctx, types.VirtualMachineConfigSpec{
		Name: "shadow", GuestId: guestIDOfLab, NumCPUs: 1, MemoryMB: 256, DeviceChange: append(changes, state, data),
		Files: &types.VirtualMachineFileInfo{VmPathName: "[datastore1] shadow/shadow.vmx"},
	}, object.NewResourcePool(s.client.Client, s.places.pool), nil))
	return object.NewVirtualMachine(s.client.Client, info.Result.(types.ManagedObjectReference))
}

func TestShadowVMRunsTheAgentOfItsImage(t *testing.T) {
	s := newTestSite(t, "127.25", destinationSite)
	vm := s.shadowVM()
	s.done(vm.PowerOn(s.ctx))
	s.eventually("the address across the WAN is reported", func() bool {
		var props mo.VirtualMachine
		s.must(property.DefaultCollector(s.client.Client).RetrieveOne(s.ctx, vm.Reference(), []string{"guest"}, &props))
		return props.Guest.IpAddress == "127.25.105.1"
	})
	links := filepath.Join(s.Home, "machines", vm.Reference().Value, "disks")
	linked := func() string {
		entries, err := os.ReadDir(links)
		s.must(err)
		names := make([]string, len(entries))
		for i, entry := range entries {
			names[i] = entry.Name()
		}
		return strings.Join(names, " ")
	}
	data := s.uuidOf("[datastore1] shadow/data.vmdk")
	if got := linked(); got != data {
		t.Fatalf("linked: %s, not %s", got, data)
	}
	s.done(s.createDisk("[datastore1] shadow/late.vmdk", 1<<24))
	var controller int32
	for _, device := range s.devices(vm) {
		if _, ok := device.(*types.ParaVirtualSCSIController); ok {
			controller = device.GetVirtualDevice().Key
		}
	}
	s.done(s.reconfigure(vm, attachment("[datastore1] shadow/late.vmdk", controller, 1)))
	if got := linked(); !strings.Contains(got, s.uuidOf("[datastore1] shadow/late.vmdk")) {
		t.Fatalf("after attaching: %s", got)
	}

	// The agent dies: it is started again; off: it is gone for good.
	before := s.machineOf(vm.Reference()).describe().PID
	s.must(s.machineOf(vm.Reference()).reset())
	s.eventually("the agent runs again", func() bool {
		pid := s.machineOf(vm.Reference()).describe().PID
		return pid != 0 && pid != before
	})
	s.done(vm.PowerOff(s.ctx))
	if conn, err := net.DialTimeout("tcp", "127.25.5.1:32875", time.Second); err == nil {
		conn.Close()
		t.Fatal("the agent still listens")
	}
	state := filepath.Join(s.Home, "state-disks", s.uuidOf("[datastore1] shadow/state.vmdk"))
	if _, err := os.Stat(state); err != nil {
		t.Fatal("the state did not outlive the power-off")
	}
	s.done(vm.Destroy(s.ctx))
	if _, err := os.Stat(state); err == nil {
		t.Fatal("the state outlived the VM")
	}
}
