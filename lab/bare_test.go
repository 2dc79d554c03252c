package main

import (
	"os"
	"strings"
	"testing"

	"github.com/vmware/govmomi/pbm"
	"github.com/vmware/govmomi/vim25/types"
)

func TestBareMachineWritesThroughTheTapAndVerifies(t *testing.T) {
	t.Setenv(asLabVariable, "1") // the machine is this program again
	s := newTestSite(t, "127.30", sourceSite)
	v := smallVM("app", 0)
	v.Disks = []scenarioDisk{{CapacityBytes: "16777216", SeedBytes: "1048576"}, {CapacityBytes: "2097152"}}
	v.WriterPauseMs, v.Bare = 2, true
	vm := s.addVM(v)
	s.done(vm.PowerOn(s.ctx))
	s.progress(vm)
	client, err := pbm.NewClient(s.ctx, s.client.Client)
	s.must(err)
	profile := s.createPolicy(client)
	s.install(fakePackage(t))
	s.done(s.setPolicy(vm, profile))
	s.progress(vm)

	s.must(vm.ShutdownGuest(s.ctx))
	s.eventually("the machine is off", func() bool { return s.powerState(vm) == types.VirtualMachinePowerStatePoweredOff })
	acknowledged := s.status(vm).Acknowledged
	s.done(vm.PowerOn(s.ctx))
	s.progress(vm)
	if status := s.status(vm); status.Verified == nil || *status.Verified != acknowledged || !status.Disks[0].Filtered {
		t.Fatalf("acknowledged %d, then %+v", acknowledged, status)
	}
	s.must(vm.RebootGuest(s.ctx))
	s.progress(vm)
	s.done(s.setPolicy(vm, ""))
	s.progress(vm)
	if n := s.kill("guest"); n != 1 {
		t.Fatalf("%d machines", n)
	}
	s.eventually("the killed machine is off", func() bool { return s.powerState(vm) == types.VirtualMachinePowerStatePoweredOff })

	// A record that was acknowledged and is gone ends the machine as it starts.
	status := s.status(vm)
	disk, err := os.OpenFile(status.Disks[1].FlatPath, os.O_RDWR, 0)
	s.must(err)
	_, err = disk.WriteAt(make([]byte, bareBlockBytes), recordOffset(status.Acknowledged-2, 2097152))
	s.must(err)
	s.must(disk.Close())
	s.done(vm.PowerOn(s.ctx))
	s.eventually("the machine gave up", func() bool { return s.powerState(vm) == types.VirtualMachinePowerStatePoweredOff })
	if said := strings.Join(s.status(vm).ConsoleTail, "\n"); !strings.Contains(said, "LOST on disk") {
		t.Fatalf("a lost record was not noticed: %s", said)
	}
}

func TestOtherKindsOfMachinesAreRefused(t *testing.T) {
	s := newTestSite(t, "127.31", sourceSite)
	vm := s.addVM(smallVM("app", 0))
	task, err := vm.Reconfigure(s.ctx, types.VirtualMachineConfigSpec{
		ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: machineOption, Value: "steam"}},
	})
	s.done(task, err)
	s.faultOf(vm.PowerOn(s.ctx))
}
