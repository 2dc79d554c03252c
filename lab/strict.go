// Strictness: what a real vCenter refuses and the simulator would take, or crash on, is refused here
// with the fault a real one has.
package main

import (
	"os"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	scsiControllerUnit = 7
	scsiUnitsMax       = 16
	pvscsiUnitsMax     = 64
	sataUnitsMax       = 30
	nvmeUnitsMax       = 15
	ideUnitsMax        = 2
	freeBytesMin       = 1 << 20
)

// checkNewVM checks a CreateVM call before the simulator sees it.
func (s *site) checkNewVM(ctx *simulator.Context, folder *simulator.Folder, req *types.CreateVM_Task) error {
	config := &req.Config
	if config.Files == nil || config.Files.VmPathName == "" {
		return refuse(&types.InvalidVmConfig{Property: "configSpec.files.vmPathName"}, "The path of the virtual machine is missing")
	}
	if config.Name == "" {
		return refuse(&types.InvalidVmConfig{Property: "configSpec.name"}, "The name of the virtual machine is missing")
	}
	if _, err := s.datastoreFile(config.Files.VmPathName); err != nil {
		return err
	}
	if same := ctx.Map.FindByName(config.Name, folder.ChildEntity); same != nil {
		return refuse(&types.DuplicateName{Name: config.Name, Object: same.Reference()}, "The name '%s' already exists", config.Name)
	}
	if ctx.Map.Get(req.Pool) == nil {
		return refuse(&types.ManagedObjectNotFound{Obj: req.Pool}, "The resource pool %s does not exist", req.Pool.Value)
	}
	if req.Host != nil && ctx.Map.Get(*req.Host) == nil {
		return refuse(&types.ManagedObjectNotFound{Obj: *req.Host}, "The host %s does not exist", req.Host.Value)
	}
	for i := range config.DeviceChange {
		if config.DeviceChange[i].GetVirtualDeviceConfigSpec().Device == nil {
			return invalidDevice(i, "key", "A device change names no device")
		}
	}
	return s.checkChanges(ctx, nil, config.DeviceChange, false)
}

// checkChanges checks device changes against the devices present. devices is nil for a new VM, which
// has the default controllers only.
func (s *site) checkChanges(ctx *simulator.Context, devices object.VirtualDeviceList, changes []types.BaseVirtualDeviceConfigSpec, running bool) error {
	plan := newPlaces(devices)
	for i, change := range changes {
		spec := change.GetVirtualDeviceConfigSpec()
		if spec.Device == nil {
			return invalidDevice(i, "key", "A device change names no device")
		}
		var err error
		switch spec.Operation {
		case types.VirtualDeviceConfigSpecOperationAdd:
			err = s.checkAdd(ctx, plan, i, spec, running)
		case types.VirtualDeviceConfigSpecOperationRemove, types.VirtualDeviceConfigSpecOperationEdit:
			err = s.checkPresent(ctx, plan, i, spec)
		default:
			err = invalidDevice(i, "operation", "The operation '%s' is not known", spec.Operation)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *site) checkPresent(ctx *simulator.Context, plan *places, i int, spec *types.VirtualDeviceConfigSpec) error {
	key := spec.Device.GetVirtualDevice().Key
	present := plan.devices.FindByKey(key)
	if present == nil {
		return invalidDevice(i, "key", "The virtual machine has no device with the key %d", key)
	}
	if spec.Operation == types.VirtualDeviceConfigSpecOperationRemove {
		// The simulator takes the caller's word for what the device looks like.
		spec.Device = present
		plan.remove(present)
		return nil
	}
	if changed := spec.Device.GetVirtualDevice(); changed.Backing == nil {
		changed.Backing = present.GetVirtualDevice().Backing
	}
	return s.checkBacking(ctx, i, spec)
}

func (s *site) checkAdd(ctx *simulator.Context, plan *places, i int, spec *types.VirtualDeviceConfigSpec, running bool) error {
	if controller, ok := spec.Device.(types.BaseVirtualController); ok {
		plan.addController(controller)
		return nil
	}
	if err := s.checkBacking(ctx, i, spec); err != nil {
		return err
	}
	disk, isDisk := spec.Device.(*types.VirtualDisk)
	_, isDrive := spec.Device.(*types.VirtualCdrom)
	if isDisk || isDrive {
		if err := plan.take(i, spec.Device.GetVirtualDevice()); err != nil {
			return err
		}
	}
	if !isDisk {
		return nil
	}
	return s.checkNewDisk(plan, i, spec, disk, running)
}

// checkNewDisk checks the file of a disk that is added: free to be made, or there and not in use.
func (s *site) checkNewDisk(plan *places, i int, spec *types.VirtualDeviceConfigSpec, disk *types.VirtualDisk, running bool) error {
	backing, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if !ok {
		return nil
	}
	if spec.FileOperation == types.VirtualDeviceConfigSpecFileOperationCreate {
		thin := backing.ThinProvisioned != nil && *backing.ThinProvisioned
		return s.checkSpace(backing.FileName, max(disk.CapacityInBytes, disk.CapacityInKB*1024), thin)
	}
	path, err := s.datastoreFile(backing.FileName)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return refuse(&types.FileNotFound{FileFault: types.FileFault{File: backing.FileName}}, "File %s was not found", backing.FileName)
	}
	if plan.hasFile(backing.FileName) {
		return invalidBacking(i, "The disk %s is attached to this virtual machine already", backing.FileName)
	}
	plan.files = append(plan.files, backing.FileName)
	if running && s.openFile(simulator.VirtualDiskBackingFileName(path)) && backing.Sharing != string(types.VirtualDiskSharingSharingMultiWriter) {
		return fileLocked(backing.FileName)
	}
	return nil
}

// checkBacking refuses networks and datastores that do not exist: the simulator would crash.
func (s *site) checkBacking(ctx *simulator.Context, i int, spec *types.VirtualDeviceConfigSpec) error {
	switch backing := spec.Device.GetVirtualDevice().Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		if s.networkNamed(ctx, backing.DeviceName) == nil {
			return invalidBacking(i, "The network '%s' does not exist", backing.DeviceName)
		}
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		group := types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: backing.Port.PortgroupKey}
		if ctx.Map.Get(group) == nil {
			return invalidBacking(i, "The port group '%s' does not exist", backing.Port.PortgroupKey)
		}
	case types.BaseVirtualDeviceFileBackingInfo:
		name := backing.GetVirtualDeviceFileBackingInfo().FileName
		if name == "" {
			if _, isDisk := spec.Device.(*types.VirtualDisk); isDisk {
				return invalidBacking(i, "The disk has no file name")
			}
			return nil
		}
		_, err := s.datastoreFile(name)
		return err
	}
	return nil
}

func (s *site) networkNamed(ctx *simulator.Context, name string) mo.Entity {
	datacenter := ctx.Map.Get(s.places.datacenter).(*simulator.Datacenter)
	return ctx.Map.FindByName(name, datacenter.Network)
}

// places tracks who sits where while a list of changes is gone through.
type places struct {
	devices     object.VirtualDeviceList
	controllers map[int32]types.BaseVirtualController
	taken       map[int32][]int32
	files       []string
}

// defaultControllers are the keys of the controllers that every new VM has.
var defaultControllers = []int32{100, 200, 201, 300, 400}

func newPlaces(devices object.VirtualDeviceList) *places {
	p := &places{devices: devices, controllers: map[int32]types.BaseVirtualController{}, taken: map[int32][]int32{}}
	for _, device := range devices {
		if controller, ok := device.(types.BaseVirtualController); ok {
			p.addController(controller)
			continue
		}
		d := device.GetVirtualDevice()
		if d.UnitNumber != nil {
			p.taken[d.ControllerKey] = append(p.taken[d.ControllerKey], *d.UnitNumber)
		}
		if name := fileOf(device); name != "" {
			p.files = append(p.files, name)
		}
	}
	if devices == nil {
		for _, key := range defaultControllers {
			p.addController(&types.VirtualIDEController{VirtualController: types.VirtualController{VirtualDevice: types.VirtualDevice{Key: key}}})
		}
	}
	return p
}

func fileOf(device types.BaseVirtualDevice) string {
	if disk, ok := device.(*types.VirtualDisk); ok {
		if backing, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
			return backing.GetVirtualDeviceFileBackingInfo().FileName
		}
	}
	return ""
}

func (p *places) addController(controller types.BaseVirtualController) {
	p.controllers[controller.GetVirtualController().Key] = controller
}

func (p *places) hasFile(name string) bool { return slices.Contains(p.files, name) }

func (p *places) remove(device types.BaseVirtualDevice) {
	d := device.GetVirtualDevice()
	if d.UnitNumber != nil {
		p.taken[d.ControllerKey] = slices.DeleteFunc(p.taken[d.ControllerKey], func(unit int32) bool { return unit == *d.UnitNumber })
	}
	p.files = slices.DeleteFunc(p.files, func(name string) bool { return name == fileOf(device) })
}

// take claims the device's place on its controller; without a unit number it gets the lowest free.
func (p *places) take(i int, device *types.VirtualDevice) error {
	controller, ok := p.controllers[device.ControllerKey]
	if !ok {
		return refuse(&types.InvalidController{
			InvalidDeviceSpec: types.InvalidDeviceSpec{DeviceIndex: int32(i), InvalidVmConfig: types.InvalidVmConfig{Property: "controllerKey"}},
			ControllerKey:     device.ControllerKey,
		}, "The virtual machine has no controller with the key %d", device.ControllerKey)
	}
	units, reserved := unitsOf(controller)
	taken := p.taken[device.ControllerKey]
	if device.UnitNumber == nil {
		for unit := range units {
			if unit != reserved && !slices.Contains(taken, unit) {
				device.UnitNumber = types.NewInt32(unit)
				break
			}
		}
	}
	if device.UnitNumber == nil {
		return invalidDevice(i, "unitNumber", "The controller has no free place")
	}
	unit := *device.UnitNumber
	if unit < 0 || unit >= units || unit == reserved {
		return invalidDevice(i, "unitNumber", "The controller has no place %d", unit)
	}
	if slices.Contains(taken, unit) {
		return invalidDevice(i, "unitNumber", "Place %d of the controller is taken", unit)
	}
	p.taken[device.ControllerKey] = append(taken, unit)
	return nil
}

// unitsOf says how many places a controller has, and which one is its own (-1: none).
func unitsOf(controller types.BaseVirtualController) (units, reserved int32) {
	switch controller.(type) {
	case *types.ParaVirtualSCSIController:
		return pvscsiUnitsMax + 1, scsiControllerUnit
	case types.BaseVirtualSCSIController:
		return scsiUnitsMax, scsiControllerUnit
	case types.BaseVirtualSATAController:
		return sataUnitsMax, -1
	case *types.VirtualNVMEController:
		return nvmeUnitsMax, -1
	}
	return ideUnitsMax, -1
}
