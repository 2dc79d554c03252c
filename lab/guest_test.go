package main

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
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

// installFake installs the filter package with the fake daemon on the cluster.
func (s *testSite) installFake() string {
	s.t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(fakePackage(s.t))
	}))
	s.t.Cleanup(server.Close)
	install := func(trust types.BaseIoFilterManagerSslTrust) (*object.Task, error) {
		answer, err := methods.InstallIoFilter_Task(s.ctx, s.client.Client, &types.InstallIoFilter_Task{
			This: s.filterManager(s.newContext()), VibUrl: server.URL + "/landfall-host.vib", CompRes: s.places.cluster, VibSslTrust: trust,
		})
		if err != nil {
			return nil, err
		}
		return object.NewTask(s.client.Client, answer.Returnval), nil
	}
	s.faultOf(install(nil))
	pinned := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	s.done(install(&types.PinnedCertificate{SslCertificate: string(pinned)}))
	info, err := methods.QueryIoFilterInfo(s.ctx, s.client.Client, &types.QueryIoFilterInfo{
		This: s.filterManager(s.newContext()), CompRes: s.places.cluster,
	})
	s.must(err)
	if len(info.Returnval) != 1 {
		s.t.Fatalf("installed: %+v", info.Returnval)
	}
	return info.Returnval[0].Id
}

func (s *testSite) createPolicy(client *pbm.Client) string {
	s.t.Helper()
	id, err := client.CreateProfile(s.ctx, pbmtypes.PbmCapabilityProfileCreateSpec{
		Name: "Network Migration", Category: "REQUIREMENT",
		ResourceType: pbmtypes.PbmProfileResourceType{ResourceType: "STORAGE"},
		Constraints: &pbmtypes.PbmCapabilitySubProfileConstraints{SubProfiles: []pbmtypes.PbmCapabilitySubProfile{{
			Name: "filter", Capability: []pbmtypes.PbmCapabilityInstance{{
				Id: pbmtypes.PbmCapabilityMetadataUniqueId{Namespace: filterNamespace, Id: filterCapability},
				Constraint: []pbmtypes.PbmCapabilityConstraintInstance{{PropertyInstance: []pbmtypes.PbmCapabilityPropertyInstance{{
					Id: filterCapability, Value: true,
				}}}},
			}},
		}}},
	})
	s.must(err)
	return id.UniqueId
}

// setPolicy edits a VM's first disk to have a profile; an empty one takes it away.
func (s *testSite) setPolicy(vm *object.VirtualMachine, profile string) (*object.Task, error) {
	change := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: s.firstDisk(vm)}
	change.Profile = []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineEmptyProfileSpec{}}
	if profile != "" {
		change.Profile = []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{ProfileId: profile}}
	}
	return s.reconfigure(vm, change)
}

func (s *testSite) told(vm *object.VirtualMachine) string {
	host := s.hostOf(vmOf(s.newContext(), vm.Reference()))
	raw, _ := os.ReadFile(filepath.Join(host.folder, "state", "told"))
	return string(raw)
}

func TestStoragePolicyPutsTheTapUnderARunningGuest(t *testing.T) {
	s := newTestSite(t, "127.24", sourceSite)
	vm := s.runningVM("app")
	client, err := pbm.NewClient(s.ctx, s.client.Client)
	s.must(err)
	profile := s.createPolicy(client)
	s.faultOf(s.setPolicy(vm, profile)) // the filter is not installed yet
	filter := s.installFake()

	s.done(s.setPolicy(vm, profile))
	s.progress(vm)
	if got := s.firstDisk(vm).Iofilter; len(got) != 1 || got[0] != filter {
		t.Fatalf("disk.iofilter is %v", got)
	}
	entities, err := client.QueryAssociatedEntity(s.ctx, pbmtypes.PbmProfileId{UniqueId: profile}, "")
	s.must(err)
	if len(entities) != 1 || !strings.HasPrefix(entities[0].Key, vm.Reference().Value+":") {
		t.Fatalf("associated: %+v", entities)
	}
	if len(s.holdings().AttachedFilters) != 1 {
		t.Fatal("the attached filter is not listed")
	}
	if _, err := client.DeleteProfile(s.ctx, []pbmtypes.PbmProfileId{{UniqueId: profile}}); err != nil {
		t.Fatal(err)
	}
	if len(s.customProfiles()) != 1 {
		t.Fatal("a profile in use was deleted")
	}

	// Off: closed. On: attached first. Sealed: refused with the reason.
	s.done(vm.PowerOff(s.ctx))
	s.eventually("the daemon knows that the VM is closed", func() bool { return strings.Contains(s.told(vm), "closed ") })
	s.done(vm.PowerOn(s.ctx))
	s.progress(vm)
	status := s.status(vm)
	if status.Verified == nil || !status.Disks[0].Filtered {
		t.Fatalf("%+v", status)
	}

	s.done(s.setPolicy(vm, ""))
	s.progress(vm)
	if s.firstDisk(vm).Iofilter != nil || !strings.Contains(s.told(vm), "detach ") {
		t.Fatal("the filter is still there")
	}
	s.done(s.setPolicy(vm, profile))
	s.done(vm.PowerOff(s.ctx))
	host := s.hostOf(vmOf(s.newContext(), vm.Reference()))
	s.must(os.WriteFile(filepath.Join(host.folder, "state", "sealed"), nil, 0o600))
	f, ok := s.faultOf(vm.PowerOn(s.ctx)).(*types.GenericVmConfigFault)
	if !ok || !strings.Contains(f.Reason, "DISK_SEALED") {
		t.Fatalf("powering on a sealed disk: %+v", f)
	}
}

func TestDaemonIsStartedAgain(t *testing.T) {
	s := newTestSite(t, "127.24", sourceSite)
	s.installFake()
	var before int
	for _, process := range s.processes() {
		if process.Role == "replicator-host" && process.Host == "127.24.1.11" {
			before = process.PID
		}
	}
	s.must(syscall.Kill(before, syscall.SIGKILL))
	s.eventually("a new daemon runs", func() bool {
		for _, process := range s.processes() {
			if process.Host == "127.24.1.11" && process.PID != before {
				return true
			}
		}
		return false
	})
}
