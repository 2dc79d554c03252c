package main

import (
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// runningVM makes a VM with a writing guest and waits for its first records.
func (s *testSite) runningVM(name string) *object.VirtualMachine {
	s.t.Helper()
	v := smallVM(name, 0)
	v.Disks = []scenarioDisk{{CapacityBytes: "67108864", SeedBytes: "4194304"}}
	v.WriterPauseMs = 5
	vm := s.addVM(v)
	s.done(vm.PowerOn(s.ctx))
	s.progress(vm)
	return vm
}

// progress waits until the guest has acknowledged some more records.
func (s *testSite) progress(vm *object.VirtualMachine) {
	s.t.Helper()
	before := s.status(vm).Acknowledged
	s.eventually("the guest writes", func() bool { return s.status(vm).Acknowledged > before+5 })
}

func (s *testSite) powerState(vm *object.VirtualMachine) types.VirtualMachinePowerState {
	s.t.Helper()
	state, err := vm.PowerState(s.ctx)
	s.must(err)
	return state
}

func TestGuestWritesShutsDownAndVerifies(t *testing.T) {
	s := newTestSite(t, "127.23", sourceSite)
	vm := s.runningVM("app")
	s.eventually("the address is reported", func() bool {
		var props mo.VirtualMachine
		s.must(property.DefaultCollector(s.client.Client).RetrieveOne(s.ctx, vm.Reference(), []string{"guest"}, &props))
		return props.Guest.IpAddress == "127.23.3.1" && props.Guest.ToolsRunningStatus == toolsRunning
	})

	// A hot-plugged disk in use here can be neither deleted nor attached elsewhere.
	s.done(s.createDisk("[datastore1] app/hot.vmdk", 1<<24))
	controller := s.firstDisk(vm).ControllerKey
	s.done(s.reconfigure(vm, attachment("[datastore1] app/hot.vmdk", controller, 3)))
	disks := object.NewVirtualDiskManager(s.client.Client)
	if f, ok := s.faultOf(disks.DeleteVirtualDisk(s.ctx, "[datastore1] app/hot.vmdk", s.dc)).(*types.FileLocked); !ok {
		t.Fatalf("deleting a disk in use: %T", f)
	}
	other := s.addVM(smallVM("other", 1))
	s.done(s.reconfigure(other, attachment("[datastore1] app/hot.vmdk", s.firstDisk(other).ControllerKey, 3)))
	if f, ok := s.faultOf(other.PowerOn(s.ctx)).(*types.FileLocked); !ok {
		t.Fatalf("powering on with a disk in use: %T", f)
	}
	added := s.devices(vm).SelectByType((*types.VirtualDisk)(nil))[1]
	s.done(s.reconfigure(vm, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: added}))
	s.progress(vm)

	s.must(vm.ShutdownGuest(s.ctx))
	s.eventually("the guest is off", func() bool { return s.powerState(vm) == types.VirtualMachinePowerStatePoweredOff })
	acknowledged := s.status(vm).Acknowledged
	s.done(vm.PowerOn(s.ctx))
	s.progress(vm)
	status := s.status(vm)
	if status.Verified == nil || *status.Verified != acknowledged || status.Boots != 2 {
		t.Fatalf("acknowledged %d, then %+v", acknowledged, status)
	}
	s.done(vm.PowerOff(s.ctx))
	if got := s.powerState(vm); got != types.VirtualMachinePowerStatePoweredOff {
		t.Fatalf("after the power cut: %s", got)
	}
	if f, ok := s.faultOf(vm.PowerOff(s.ctx)).(*types.InvalidPowerState); !ok {
		t.Fatalf("powering off twice: %T", f)
	}
}
