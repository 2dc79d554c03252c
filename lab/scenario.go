// The scenario: which virtual machines a lab starts with. They are made through the same calls that
// anyone else would use; only the content of their disks is written directly.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	guestIDOfLab     = "debian12_64Guest"
	writerPauseMsDef = 20
)

// scenario is the file that `lab up --scenario` reads.
type scenario struct {
	Wan lineSettings `json:"wan"`
	VMs []scenarioVM `json:"vms"`
}

// scenarioVM is one virtual machine of a scenario.
type scenarioVM struct {
	Site          string         `json:"site"`
	Name          string         `json:"name"`
	MemoryMb      int64          `json:"memoryMb"`
	CPUs          int32          `json:"cpus"`
	PowerOn       bool           `json:"powerOn"`
	Network       string         `json:"network"`
	Datastore     string         `json:"datastore"`
	Disks         []scenarioDisk `json:"disks"`
	WriterPauseMs int            `json:"writerPauseMs"`
	Snapshot      bool           `json:"snapshot"`
	RDM           bool           `json:"rdm"`
	SharedDisk    bool           `json:"sharedDisk"`
	Bare          bool           `json:"bare"`
}

// scenarioDisk is one disk; bytes are decimal strings.
type scenarioDisk struct {
	CapacityBytes string `json:"capacityBytes"`
	SeedBytes     string `json:"seedBytes"`
}

// readScenario reads and checks a scenario file.
func readScenario(path string) (scenario, error) {
	var read scenario
	file, err := os.Open(path)
	if err != nil {
		return read, err
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return read, fmt.Errorf("%s: %w", path, err)
	}
	for i := range read.VMs {
		if err := read.VMs[i].complete(); err != nil {
			return read, fmt.Errorf("%s: VM %d: %w", path, i+1, err)
		}
	}
	return read, nil
}

// complete fills in defaults and refuses what cannot be.
func (v *scenarioVM) complete() error {
	if v.Site != sourceSite && v.Site != destinationSite {
		return fmt.Errorf("site must be %q or %q", sourceSite, destinationSite)
	}
	if v.Name == "" {
		return errors.New("name is missing")
	}
	defaultTo(&v.MemoryMb, 128)
	defaultTo(&v.CPUs, 1)
	defaultTo(&v.WriterPauseMs, writerPauseMsDef)
	if v.Network == "" {
		v.Network = "VM Network"
	}
	if v.Datastore == "" {
		v.Datastore = datastoreNames[0]
	}
	for k, d := range v.Disks {
		capacity, seed, err := d.sizes()
		if err != nil {
			return fmt.Errorf("disk %d: %w", k+1, err)
		}
		if capacity <= 0 || capacity%1024 != 0 || seed < 0 || seed >= capacity {
			return fmt.Errorf("disk %d: capacityBytes must be a multiple of 1024 and larger than seedBytes", k+1)
		}
	}
	return nil
}

func defaultTo[T int | int32 | int64](value *T, byDefault T) {
	if *value == 0 {
		*value = byDefault
	}
}

func (d scenarioDisk) sizes() (capacity, seed int64, err error) {
	if capacity, err = strconv.ParseInt(d.CapacityBytes, 10, 64); err != nil {
		return 0, 0, err
	}
	if d.SeedBytes != "" {
		seed, err = strconv.ParseInt(d.SeedBytes, 10, 64)
	}
	return capacity, seed, err
}

// createScenario makes this site's VMs and powers on those that should run.
func (s *site) createScenario(ctx context.Context) error {
	for _, v := range s.VMs {
		if v.Site != s.Site {
			continue
		}
		if err := s.createScenarioVM(ctx, v); err != nil {
			return fmt.Errorf("VM %s: %w", v.Name, err)
		}
	}
	return nil
}

func (s *site) createScenarioVM(ctx context.Context, v scenarioVM) error {
	folder := fmt.Sprintf("[%s] %s", v.Datastore, v.Name)
	datacenter := object.NewDatacenter(s.client, s.places.datacenter)
	if err := object.NewFileManager(s.client).MakeDirectory(ctx, folder, datacenter, false); err != nil {
		return err
	}
	var files []string
	for k, d := range v.Disks {
		file := fmt.Sprintf("%s/%s.vmdk", folder, diskBaseName(v.Name, k))
		if err := s.createScenarioDisk(ctx, datacenter, file, v.Name, k, d); err != nil {
			return fmt.Errorf("disk %d: %w", k+1, err)
		}
		files = append(files, file)
	}
	spec := v.spec(folder, files)
	task, err := object.NewFolder(s.client, s.places.vmFolder).CreateVM(ctx, spec, object.NewResourcePool(s.client, s.places.pool), nil)
	if err != nil {
		return err
	}
	result, err := task.WaitForResult(ctx)
	if err != nil {
		return err
	}
	vm := object.NewVirtualMachine(s.client, result.Result.(types.ManagedObjectReference))
	if err := s.writeNvram(fmt.Sprintf("%s/%s.nvram", folder, v.Name), v.Name); err != nil {
		return err
	}
	if v.Snapshot {
		task, err := vm.CreateSnapshot(ctx, "before migration", "", false, false)
		if err != nil {
			return err
		}
		if err := task.Wait(ctx); err != nil {
			return err
		}
	}
	if !v.PowerOn {
		return nil
	}
	return s.switchPower(ctx, vm.Reference(), true)
}

func diskBaseName(name string, k int) string {
	if k == 0 {
		return name
	}
	return fmt.Sprintf("%s_%d", name, k)
}

// spec is the VM as a person would have made it: paravirtual SCSI, vmxnet3, a CD-ROM drive.
func (v scenarioVM) spec(folder string, files []string) types.VirtualMachineConfigSpec {
	var devices object.VirtualDeviceList
	controller := &types.ParaVirtualSCSIController{VirtualSCSIController: types.VirtualSCSIController{
		SharedBus:         types.VirtualSCSISharingNoSharing,
		VirtualController: types.VirtualController{VirtualDevice: types.VirtualDevice{Key: -1}},
	}}
	devices = append(devices, controller)
	add := func(backing types.BaseVirtualDeviceBackingInfo) {
		unit := int32(len(devices) - 1)
		if unit >= scsiControllerUnit {
			unit++
		}
		devices = append(devices, &types.VirtualDisk{VirtualDevice: types.VirtualDevice{
			Key: -10 - unit, ControllerKey: -1, UnitNumber: &unit, Backing: backing,
		}})
	}
	for _, file := range files {
		backing := &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file},
			DiskMode:                     string(types.VirtualDiskModePersistent), ThinProvisioned: types.NewBool(true),
		}
		if v.SharedDisk && file == files[len(files)-1] {
			backing.Sharing = string(types.VirtualDiskSharingSharingMultiWriter)
		}
		add(backing)
	}
	network := &types.VirtualVmxnet3{}
	network.Key, network.AddressType = -100, string(types.VirtualEthernetCardMacTypeGenerated)
	network.Backing = &types.VirtualEthernetCardNetworkBackingInfo{
		VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: v.Network},
	}
	devices = append(devices, network)
	changes, _ := devices.ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
	for _, change := range changes {
		change.GetVirtualDeviceConfigSpec().FileOperation = ""
	}
	if v.RDM {
		changes = append(changes, rawDisk(folder, v.Name, int32(len(files)+scsiControllerUnit+1)))
	}
	options := []types.BaseOptionValue{
		&types.OptionValue{Key: pauseOption, Value: strconv.Itoa(v.WriterPauseMs)},
		&types.OptionValue{Key: "disk.EnableUUID", Value: "TRUE"},
	}
	if v.Bare {
		options = append(options, &types.OptionValue{Key: machineOption, Value: bareMachine})
	}
	return types.VirtualMachineConfigSpec{
		Name: v.Name, GuestId: guestIDOfLab, NumCPUs: v.CPUs, MemoryMB: v.MemoryMb, Version: hardwareVersion,
		Files: &types.VirtualMachineFileInfo{VmPathName: fmt.Sprintf("%s/%s.vmx", folder, v.Name)}, DeviceChange: changes,
		Flags:       &types.VirtualMachineFlagInfo{DiskUuidEnabled: types.NewBool(true)},
		ExtraConfig: options,
	}
}

// rawDisk is a raw device mapping; it only has to be seen, a VM with one is never powered on here.
func rawDisk(folder, name string, unit int32) types.BaseVirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{
		Operation: types.VirtualDeviceConfigSpecOperationAdd, FileOperation: types.VirtualDeviceConfigSpecFileOperationCreate,
		Device: &types.VirtualDisk{CapacityInKB: 1 << 20, VirtualDevice: types.VirtualDevice{
			Key: -99, ControllerKey: -1, UnitNumber: &unit,
			Backing: &types.VirtualDiskRawDiskMappingVer1BackingInfo{
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: fmt.Sprintf("%s/%s_rdm.vmdk", folder, name)},
				DeviceName:                   "vml.0200000000", CompatibilityMode: string(types.VirtualDiskCompatibilityModeVirtualMode),
				DiskMode: string(types.VirtualDiskModePersistent), Uuid: newDiskUUID(),
			},
		}},
	}
}
