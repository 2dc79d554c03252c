// Power: a powered-on VM is a running machine. Whoever ends the machine says so first (cut), so that
// exactly one party changes the VM's power state.
package main

import (
	"log"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	toolsRunning    = string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
	toolsNotRunning = string(types.VirtualMachineToolsRunningStatusGuestToolsNotRunning)
)

// PowerOnVMTask attaches the storage policy's filter, starts the machine and then flips the state.
func (s *site) PowerOnVMTask(ctx *simulator.Context, req *types.PowerOnVM_Task) soap.HasFault {
	vm := vmOf(ctx, req.This)
	s.holds.wait(vm.Name)
	task := runTask(ctx, vm, "powerOn", func() (types.AnyType, error) {
		return nil, s.powerOn(ctx, vm, req)
	})
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: task}}
}

func (s *site) powerOn(ctx *simulator.Context, vm *simulator.VirtualMachine, req *types.PowerOnVM_Task) error {
	if err := needState(vm, types.VirtualMachinePowerStatePoweredOff, types.VirtualMachinePowerStatePoweredOn); err != nil {
		return err
	}
	disks, err := s.disksOf(vm)
	if err != nil {
		return err
	}
	if err := s.holdDisks(vm.Self, disks); err != nil {
		return err
	}
	running, err := s.startWithFilter(ctx, vm, disks)
	if err != nil {
		s.releaseDisks(vm.Self)
		return err
	}
	s.mu.Lock()
	s.machines[vm.Self.Value] = running
	s.mu.Unlock()
	answer := vm.PowerOnVMTask(ctx, req).(*methods.PowerOnVM_TaskBody)
	if answer.Res == nil {
		s.stopMachine(vm, running)
		return refuse(&types.InvalidState{}, "%s cannot be powered on in its state", vm.Name)
	}
	if f := waitTask(ctx, answer.Res.Returnval); f != nil {
		s.stopMachine(vm, running)
		return fromFault(f)
	}
	go s.follow(background(ctx), vm, running)
	return nil
}

// startWithFilter attaches the filter to the disks that have its policy, and starts the machine.
func (s *site) startWithFilter(ctx *simulator.Context, vm *simulator.VirtualMachine, disks []disk) (machine, error) {
	taps, err := s.attachAll(ctx, vm, s.filteredDisks(vm, disks))
	if err != nil {
		return nil, err
	}
	running, err := s.startMachine(ctx, vm, disks, taps)
	if err != nil {
		s.tellClosed(vm)
	}
	return running, err
}

// needState refuses when the VM is not in the state that the operation starts from.
func needState(vm *simulator.VirtualMachine, needed, requested types.VirtualMachinePowerState) error {
	if vm.Runtime.PowerState == needed {
		return nil
	}
	return refuse(&types.InvalidPowerState{RequestedState: requested, ExistingState: vm.Runtime.PowerState},
		"The attempted operation cannot be performed in the current state (%s)", vm.Runtime.PowerState)
}

// stopMachine ends a machine and forgets it; the power state is the caller's business.
func (s *site) stopMachine(vm *simulator.VirtualMachine, running machine) {
	running.cut().Store(true)
	running.kill()
	s.ended(vm, running)
}

// ended cleans up after a machine that is gone, and tells the filter that the VM is closed.
func (s *site) ended(vm *simulator.VirtualMachine, running machine) {
	s.mu.Lock()
	if s.machines[vm.Self.Value] == running {
		delete(s.machines, vm.Self.Value)
	}
	s.mu.Unlock()
	s.tellClosed(vm)
	s.releaseDisks(vm.Self)
}

// PowerOffVMTask is the hard power cut.
func (s *site) PowerOffVMTask(ctx *simulator.Context, req *types.PowerOffVM_Task) soap.HasFault {
	vm := vmOf(ctx, req.This)
	task := runTask(ctx, vm, "powerOff", func() (types.AnyType, error) {
		if err := needState(vm, types.VirtualMachinePowerStatePoweredOn, types.VirtualMachinePowerStatePoweredOff); err != nil {
			return nil, err
		}
		if running := s.machineOf(vm.Self); running != nil {
			s.stopMachine(vm, running)
		}
		return nil, fromFault(s.showPoweredOff(ctx, vm))
	})
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{Returnval: task}}
}

// showPoweredOff flips the VM's state; its lock is held for ctx.
func (s *site) showPoweredOff(ctx *simulator.Context, vm *simulator.VirtualMachine) types.BaseMethodFault {
	answer := vm.PowerOffVMTask(ctx, &types.PowerOffVM_Task{This: vm.Self}).(*methods.PowerOffVM_TaskBody)
	if f := waitTask(ctx, answer.Res.Returnval); f != nil {
		return f
	}
	s.showGuest(ctx, vm, "", toolsNotRunning)
	return nil
}

// follow publishes what the machine reports and flips the state when the guest powers itself off.
func (s *site) follow(ctx *simulator.Context, vm *simulator.VirtualMachine, running machine) {
	select {
	case <-running.ready():
		ctx.WithLock(vm, func() {
			if s.machineOf(vm.Self) == running {
				s.showGuest(ctx, vm, running.address(), toolsRunning)
			}
		})
	case <-running.done():
	}
	<-running.done()
	if !running.cut().CompareAndSwap(false, true) {
		return
	}
	log.Printf("%s powered itself off", vm.Name)
	s.ended(vm, running)
	ctx.WithLock(vm, func() {
		if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
			if f := s.showPoweredOff(ctx, vm); f != nil {
				log.Printf("%s: %s", vm.Name, faultText(f))
			}
		}
	})
}

// showGuest publishes address and tools state as VMware Tools would report them.
func (s *site) showGuest(ctx *simulator.Context, vm *simulator.VirtualMachine, address, tools string) {
	status := types.VirtualMachineToolsStatusToolsNotRunning
	var addresses []string
	if address != "" {
		status, addresses = types.VirtualMachineToolsStatusToolsOk, []string{address}
	}
	nics := make([]types.GuestNicInfo, 0, len(vm.Guest.Net))
	for _, nic := range vm.Guest.Net {
		nic.IpAddress, nic.Connected = addresses, address != ""
		nics = append(nics, nic)
	}
	state := string(types.VirtualMachineGuestStateNotRunning)
	if tools == toolsRunning {
		state = string(types.VirtualMachineGuestStateRunning)
	}
	ctx.Update(vm, []types.PropertyChange{
		{Name: "guest.ipAddress", Val: address}, {Name: "summary.guest.ipAddress", Val: address},
		{Name: "guest.toolsRunningStatus", Val: tools}, {Name: "summary.guest.toolsRunningStatus", Val: tools},
		{Name: "guest.toolsStatus", Val: status}, {Name: "summary.guest.toolsStatus", Val: status},
		{Name: "guest.guestState", Val: state}, {Name: "guest.net", Val: nics},
	})
}

// ShutdownGuest asks the guest; the state changes when the guest has really gone.
func (s *site) ShutdownGuest(ctx *simulator.Context, req *types.ShutdownGuest) soap.HasFault {
	vm := vmOf(ctx, req.This)
	if err := s.askGuest(vm, machine.shutDown); err != nil {
		return &methods.ShutdownGuestBody{Fault_: fault(methodFault(err))}
	}
	return &methods.ShutdownGuestBody{Res: &types.ShutdownGuestResponse{}}
}

// RebootGuest restarts the machine; the lab's guests have no softer way.
func (s *site) RebootGuest(ctx *simulator.Context, req *types.RebootGuest) soap.HasFault {
	vm := vmOf(ctx, req.This)
	if err := s.askGuest(vm, machine.reset); err != nil {
		return &methods.RebootGuestBody{Fault_: fault(methodFault(err))}
	}
	return &methods.RebootGuestBody{Res: &types.RebootGuestResponse{}}
}

func (s *site) askGuest(vm *simulator.VirtualMachine, ask func(machine) error) error {
	if err := needState(vm, types.VirtualMachinePowerStatePoweredOn, types.VirtualMachinePowerStatePoweredOn); err != nil {
		return err
	}
	running := s.machineOf(vm.Self)
	if running == nil || vm.Guest.ToolsRunningStatus != toolsRunning {
		return refuse(&types.ToolsUnavailable{}, "VMware Tools is not running in %s", vm.Name)
	}
	return ask(running)
}

// ResetVMTask is the reset button.
func (s *site) ResetVMTask(ctx *simulator.Context, req *types.ResetVM_Task) soap.HasFault {
	vm := vmOf(ctx, req.This)
	task := runTask(ctx, vm, "reset", func() (types.AnyType, error) {
		if err := needState(vm, types.VirtualMachinePowerStatePoweredOn, types.VirtualMachinePowerStatePoweredOn); err != nil {
			return nil, err
		}
		running := s.machineOf(vm.Self)
		if running == nil {
			return nil, refuse(&types.InvalidState{}, "%s is just ending", vm.Name)
		}
		return nil, running.reset()
	})
	return &methods.ResetVM_TaskBody{Res: &types.ResetVM_TaskResponse{Returnval: task}}
}

// SuspendVMTask is refused: the lab's guests cannot be suspended.
func (s *site) SuspendVMTask(_ *simulator.Context, _ *types.SuspendVM_Task) soap.HasFault {
	return &methods.SuspendVM_TaskBody{Fault_: fault(refuse(&types.NotSupported{}, "The lab cannot suspend a virtual machine").fault)}
}

// UnregisterVM forgets the VM and keeps its files.
func (s *site) UnregisterVM(ctx *simulator.Context, req *types.UnregisterVM) soap.HasFault {
	vm := vmOf(ctx, req.This)
	var answer soap.HasFault
	ctx.WithLock(vm, func() { answer = vm.UnregisterVM(ctx, req) })
	if answer.Fault() == nil {
		s.forget(req.This)
	}
	return answer
}

// stopAll ends every machine when the lab ends.
func (s *site) stopAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, running := range s.machines {
		running.cut().Store(true)
		go running.kill()
	}
	for _, running := range s.machines {
		<-running.done()
	}
	s.machines = map[string]machine{}
}
