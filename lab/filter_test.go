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
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// install installs a filter package on the cluster and returns the filter's id.
func (s *testSite) install(vib []byte) string {
	s.t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(vib)
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
	filter := s.install(fakePackage(t))

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
	s.install(fakePackage(t))
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

// kill ends the processes of a role the hard way, and says how many there were.
func (s *testSite) kill(role string) int {
	n := 0
	for _, process := range s.processes() {
		if process.Role == role {
			s.must(syscall.Kill(process.PID, syscall.SIGKILL))
			n++
		}
	}
	return n
}

// TestReplicatorUnderAGuest needs build/landfall-host.vib: the real package under a real guest.
func TestReplicatorUnderAGuest(t *testing.T) {
	vib, err := os.ReadFile("../build/landfall-host.vib")
	if err != nil {
		t.Fatalf("%v; run tools/setup", err)
	}
	t.Setenv(runMarker, "test-"+randomText())
	t.Cleanup(func() { endMarked(os.Getenv(runMarker)) })
	s := newTestSite(t, "127.29", sourceSite)
	vm := s.runningVM("app")
	client, err := pbm.NewClient(s.ctx, s.client.Client)
	s.must(err)
	profile := s.createPolicy(client)
	s.install(vib)
	s.done(s.setPolicy(vm, profile))
	s.progress(vm)
	if n := s.kill("replicator-source"); n != 1 {
		t.Fatalf("%d source processes", n)
	}
	s.progress(vm)
	if n := s.kill("replicator-host"); n != hostsPerCluster {
		t.Fatalf("%d host daemons", n)
	}
	s.progress(vm)
	s.done(vm.PowerOff(s.ctx))
	acknowledged := s.status(vm).Acknowledged
	s.done(vm.PowerOn(s.ctx))
	s.progress(vm)
	if status := s.status(vm); status.Verified == nil || *status.Verified < acknowledged {
		t.Fatalf("acknowledged %d, then %+v", acknowledged, status)
	}
	s.done(s.setPolicy(vm, ""))
	s.progress(vm)
	if n := s.kill("replicator-source"); n != 0 {
		t.Fatalf("%d source processes after detaching", n)
	}
}
