// Changing a VM: what a real vCenter refuses is refused, disks are plugged and unplugged while the
// guest runs, and a storage policy on a disk puts the filter's tap in front of it.
package main

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// ReconfigVMTask runs the simulator's version between our checks and the machine's changes.
func (s *site) ReconfigVMTask(ctx *simulator.Context, req *types.ReconfigVM_Task) soap.HasFault {
	vm := vmOf(ctx, req.This)
	task := runTask(ctx, vm, "reconfigVm", func() (types.AnyType, error) {
		return nil, s.reconfigure(ctx, vm, req)
	})
	return &methods.ReconfigVM_TaskBody{Res: &types.ReconfigVM_TaskResponse{Returnval: task}}
}

func (s *site) reconfigure(ctx *simulator.Context, vm *simulator.VirtualMachine, req *types.ReconfigVM_Task) error {
	devices := object.VirtualDeviceList(vm.Config.Hardware.Device)
	if err := s.checkChanges(ctx, devices, req.Spec.DeviceChange, s.machineOf(vm.Self) != nil); err != nil {
		return err
	}
	before, err := s.disksOf(vm)
	if err != nil {
		return err
	}
	wishes, err := s.policyWishes(req.Spec, before)
	if err != nil {
		return err
	}
	if err := s.unplugRemoved(ctx, vm, req.Spec.DeviceChange, before); err != nil {
		return err
	}
	added := addedDisks(req.Spec.DeviceChange)
	rest := *req
	rest.Spec.DeviceChange = withoutPolicyEdits(req.Spec.DeviceChange, devices)
	answer := vm.ReconfigVMTask(ctx, &rest).(*methods.ReconfigVM_TaskBody)
	if answer.Res == nil {
		return fromFault(answer.Fault().VimFault().(types.BaseMethodFault))
	}
	if f := waitTask(ctx, answer.Res.Returnval); f != nil {
		return fromFault(f)
	}
	after, err := s.disksOf(vm)
	if err != nil {
		return err
	}
	if err := s.plugAdded(vm, before, after); err != nil {
		return err
	}
	wishes.addFor(added, after)
	if err := s.applyPolicies(ctx, vm, wishes, after); err != nil {
		return err
	}
	s.showDisks(ctx, vm)
	return nil
}

// addedDisks keeps the devices that an operation adds; the simulator gives them their keys later.
func addedDisks(changes []types.BaseVirtualDeviceConfigSpec) map[*types.VirtualDisk][]types.BaseVirtualMachineProfileSpec {
	added := map[*types.VirtualDisk][]types.BaseVirtualMachineProfileSpec{}
	for _, change := range changes {
		spec := change.GetVirtualDeviceConfigSpec()
		if d, ok := spec.Device.(*types.VirtualDisk); ok && spec.Operation == types.VirtualDeviceConfigSpecOperationAdd {
			added[d] = spec.Profile
		}
	}
	return added
}

// withoutPolicyEdits leaves out edits that only carry a storage policy: the simulator would take the
// disk out and put it in again.
func withoutPolicyEdits(changes []types.BaseVirtualDeviceConfigSpec, devices object.VirtualDeviceList) []types.BaseVirtualDeviceConfigSpec {
	var rest []types.BaseVirtualDeviceConfigSpec
	for _, change := range changes {
		spec := change.GetVirtualDeviceConfigSpec()
		d, isDisk := spec.Device.(*types.VirtualDisk)
		if isDisk && spec.Operation == types.VirtualDeviceConfigSpecOperationEdit && len(spec.Profile) > 0 {
			present, _ := devices.FindByKey(d.Key).(*types.VirtualDisk)
			if present != nil && d.CapacityInKB <= present.CapacityInKB && d.CapacityInBytes <= present.CapacityInBytes {
				continue
			}
		}
		rest = append(rest, change)
	}
	return rest
}

// unplugRemoved takes disks that the change removes out of the filter and of the running guest.
func (s *site) unplugRemoved(ctx *simulator.Context, vm *simulator.VirtualMachine, changes []types.BaseVirtualDeviceConfigSpec, disks []disk) error {
	running := s.machineOf(vm.Self)
	for _, change := range changes {
		spec := change.GetVirtualDeviceConfigSpec()
		if spec.Operation != types.VirtualDeviceConfigSpecOperationRemove {
			continue
		}
		for _, d := range disks {
			if d.key != spec.Device.GetVirtualDevice().Key {
				continue
			}
			if err := s.detachFilter(ctx, vm, []disk{d}); err != nil {
				return err
			}
			s.record(vm.Self).setPolicy(d.key, "")
			if running == nil {
				continue
			}
			if err := running.unplug(d); err != nil {
				return err
			}
			s.releaseDisks(vm.Self, d)
		}
	}
	return nil
}

// plugAdded gives new disks to the running guest.
func (s *site) plugAdded(vm *simulator.VirtualMachine, before, after []disk) error {
	running := s.machineOf(vm.Self)
	if running == nil {
		return nil
	}
	known := map[int32]bool{}
	for _, d := range before {
		known[d.key] = true
	}
	for _, d := range after {
		if known[d.key] {
			continue
		}
		if err := s.holdDisks(vm.Self, []disk{d}); err != nil {
			return err
		}
		if err := running.plug(d, ""); err != nil {
			s.releaseDisks(vm.Self, d)
			return err
		}
	}
	return nil
}

// showDisks publishes the device list after we changed disks in place.
func (s *site) showDisks(ctx *simulator.Context, vm *simulator.VirtualMachine) {
	record := s.record(vm.Self)
	for _, device := range object.VirtualDeviceList(vm.Config.Hardware.Device).SelectByType((*types.VirtualDisk)(nil)) {
		d := device.(*types.VirtualDisk)
		d.Iofilter = nil
		if filter := s.filterOfPolicy(ctx, vm, record.policy(d.Key)); filter != nil {
			d.Iofilter = []string{filter.info.Id}
		}
	}
	ctx.Update(vm, []types.PropertyChange{{Name: "config.hardware.device", Val: vm.Config.Hardware.Device}})
	s.refreshDatastores(ctx)
}

// CreateVMTask checks what the simulator would take (or die of), and settles the new VM's disks.
func (s *site) CreateVMTask(ctx *simulator.Context, req *types.CreateVM_Task) soap.HasFault {
	folder, ok := ctx.Map.Get(req.This).(*simulator.Folder)
	if !ok {
		return &methods.CreateVM_TaskBody{Fault_: fault(&types.NotSupported{})}
	}
	task := runTask(ctx, folder, "createVM", func() (types.AnyType, error) {
		reference, err := s.createVM(ctx, folder, req)
		if err != nil {
			return nil, err
		}
		return reference, nil
	})
	return &methods.CreateVM_TaskBody{Res: &types.CreateVM_TaskResponse{Returnval: task}}
}

func (s *site) createVM(ctx *simulator.Context, folder *simulator.Folder, req *types.CreateVM_Task) (types.AnyType, error) {
	if err := s.checkNewVM(ctx, folder, req); err != nil {
		return nil, err
	}
	if req.Config.InstanceUuid == "" {
		req.Config.InstanceUuid = uuid.NewString()
	}
	if req.Config.Uuid == "" {
		req.Config.Uuid = uuid.NewString()
	}
	answer := folder.CreateVMTask(ctx, req).(*methods.CreateVM_TaskBody)
	if answer.Res == nil {
		return nil, fromFault(answer.Fault().VimFault().(types.BaseMethodFault))
	}
	if f := waitTask(ctx, answer.Res.Returnval); f != nil {
		return nil, fromFault(f)
	}
	result := ctx.Map.Get(answer.Res.Returnval).(*simulator.Task).Info.Result
	vm := vmOf(ctx, result.(types.ManagedObjectReference))
	var err error
	ctx.WithLock(vm, func() {
		var disks []disk
		if disks, err = s.disksOf(vm); err != nil {
			return
		}
		wishes := policyWishes{}
		wishes.addFor(addedDisks(req.Config.DeviceChange), disks)
		if err = s.applyPolicies(ctx, vm, wishes, disks); err == nil {
			s.showDisks(ctx, vm)
		}
	})
	return result, err
}

// DestroyTask deletes the VM, its own files and the disks attached to it; files of others in its
// folder stay, as on a real host.
func (s *site) DestroyTask(ctx *simulator.Context, req *types.Destroy_Task) soap.HasFault {
	vm := vmOf(ctx, req.This)
	task := runTask(ctx, vm, "destroy", func() (types.AnyType, error) {
		return nil, s.destroy(ctx, vm, req)
	})
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: task}}
}

func (s *site) destroy(ctx *simulator.Context, vm *simulator.VirtualMachine, req *types.Destroy_Task) error {
	if err := needState(vm, types.VirtualMachinePowerStatePoweredOff, types.VirtualMachinePowerStatePoweredOff); err != nil {
		return err
	}
	disks, err := s.disksOf(vm)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if s.openFile(d.flat) {
			return fileLocked(d.file)
		}
	}
	if err := s.detachFilter(ctx, vm, s.filteredDisks(vm, disks)); err != nil {
		return err
	}
	configuration := vm.Config.Files.VmPathName
	folder, err := s.datastoreFile(path.Dir(configuration))
	if err != nil {
		return err
	}
	// The simulator would delete the whole folder; it is sent to one that does not exist.
	vm.Config.Files.LogDirectory = path.Join(path.Dir(configuration), ".gone-"+uuid.NewString())
	answer := vm.DestroyTask(ctx, req).(*methods.Destroy_TaskBody)
	if f := waitTask(ctx, answer.Res.Returnval); f != nil {
		return fromFault(f)
	}
	for _, d := range disks {
		removeDisk(d.flat)
	}
	base := strings.TrimSuffix(path.Base(configuration), ".vmx")
	for _, name := range []string{base + ".vmx", vm.Name + ".nvram", base + ".nvram", "vmware.log"} {
		_ = os.Remove(filepath.Join(folder, name))
	}
	_ = os.Remove(folder)
	_ = os.RemoveAll(filepath.Join(s.Home, "machines", vm.Self.Value))
	s.removeShadowState(vm, disks)
	s.forget(vm.Self)
	s.refreshDatastores(ctx)
	return nil
}

// removeDisk deletes a disk's data and its descriptor.
func removeDisk(flat string) {
	descriptor := strings.Replace(flat, "-flat.vmdk", ".vmdk", 1)
	_ = os.Remove(flat)
	_ = os.Remove(descriptor)
}
