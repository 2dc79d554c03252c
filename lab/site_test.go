// Helpers of the lab's tests: a site in this process and a client that talks to it over TLS.
package main

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const testDeadline = 180 * time.Second

// testSite is a served site with a logged-in client.
type testSite struct {
	*site
	t      *testing.T
	ctx    context.Context
	client *govmomi.Client
	dc     *object.Datacenter
}

func newTestSite(t *testing.T, net network, name string) *testSite {
	t.Helper()
	runtimeDir, err := os.MkdirTemp("", "lab-test-")
	if err != nil {
		t.Fatal(err)
	}
	build, err := filepath.Abs("../build")
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(siteConfig{
		Site: name, Title: "Source", Net: net, Home: t.TempDir(), Runtime: runtimeDir,
		Control: filepath.Join(runtimeDir, "control.sock"), Build: build, User: labUser, Password: "right",
	})
	if name == destinationSite {
		s.Title = "Destination"
	}
	if _, err := s.serve(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testDeadline)
	t.Cleanup(func() {
		cancel()
		s.close()
		_ = os.RemoveAll(runtimeDir)
	})
	client, err := govmomi.NewClient(ctx, s.url("right"), true)
	if err != nil {
		t.Fatal(err)
	}
	return &testSite{site: s, t: t, ctx: ctx, client: client, dc: object.NewDatacenter(client.Client, s.places.datacenter)}
}

func (s *site) url(password string) *url.URL {
	return &url.URL{Scheme: "https", Host: s.Net.vcenter(s.Site), Path: "/sdk", User: url.UserPassword(labUser, password)}
}

func (s *testSite) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// done waits for a task that must succeed.
func (s *testSite) done(task *object.Task, err error) *types.TaskInfo {
	s.t.Helper()
	s.must(err)
	info, err := task.WaitForResult(s.ctx)
	s.must(err)
	return info
}

// faultOf is the fault of a call or of its task.
func (s *testSite) faultOf(task *object.Task, err error) any {
	s.t.Helper()
	if err == nil {
		_, err = task.WaitForResult(s.ctx)
	}
	if err == nil {
		s.t.Fatal("expected a fault")
	}
	return faultOfError(err)
}

func faultOfError(err error) any {
	if soap.IsSoapFault(err) {
		return soap.ToSoapFault(err).VimFault()
	}
	var carried interface{ Fault() types.BaseMethodFault }
	if errors.As(err, &carried) {
		return carried.Fault()
	}
	return err
}

// addVM makes a VM of a scenario entry and finds it.
func (s *testSite) addVM(v scenarioVM) *object.VirtualMachine {
	s.t.Helper()
	v.Site = s.Site
	s.must(v.complete())
	s.must(s.createScenarioVM(s.ctx, v))
	return s.vm(v.Name)
}

func (s *testSite) vm(name string) *object.VirtualMachine {
	s.t.Helper()
	found, err := object.NewSearchIndex(s.client.Client).FindChild(s.ctx, s.places.vmFolder, name)
	s.must(err)
	if found == nil {
		s.t.Fatalf("no VM %s", name)
	}
	return object.NewVirtualMachine(s.client.Client, found.Reference())
}

func (s *testSite) devices(vm *object.VirtualMachine) object.VirtualDeviceList {
	s.t.Helper()
	devices, err := vm.Device(s.ctx)
	s.must(err)
	return devices
}

func (s *testSite) firstDisk(vm *object.VirtualMachine) *types.VirtualDisk {
	s.t.Helper()
	disks := s.devices(vm).SelectByType((*types.VirtualDisk)(nil))
	if len(disks) == 0 {
		s.t.Fatal("the VM has no disk")
	}
	return disks[0].(*types.VirtualDisk)
}

func backingOf(d *types.VirtualDisk) *types.VirtualDiskFlatVer2BackingInfo {
	return d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
}

// attachment is a change that attaches an existing disk.
func attachment(file string, controller, unit int32) *types.VirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{
		Operation: types.VirtualDeviceConfigSpecOperationAdd,
		Device: &types.VirtualDisk{VirtualDevice: types.VirtualDevice{
			Key: -1, ControllerKey: controller, UnitNumber: &unit,
			Backing: &types.VirtualDiskFlatVer2BackingInfo{
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: file},
				DiskMode:                     string(types.VirtualDiskModeIndependent_persistent),
			},
		}},
	}
}

func (s *testSite) reconfigure(vm *object.VirtualMachine, changes ...types.BaseVirtualDeviceConfigSpec) (*object.Task, error) {
	return vm.Reconfigure(s.ctx, types.VirtualMachineConfigSpec{DeviceChange: changes})
}

// createDisk makes an empty thin disk.
func (s *testSite) createDisk(file string, capacity int64) (*object.Task, error) {
	return object.NewVirtualDiskManager(s.client.Client).CreateVirtualDisk(s.ctx, file, s.dc, &types.FileBackedVirtualDiskSpec{
		VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "thin", AdapterType: "lsiLogic"}, CapacityKb: capacity / 1024,
	})
}

func (s *testSite) uuidOf(file string) string {
	s.t.Helper()
	answer, err := methods.QueryVirtualDiskUuid(s.ctx, s.client.Client, &types.QueryVirtualDiskUuid{
		This: *s.client.ServiceContent.VirtualDiskManager, Name: file, Datacenter: &s.places.datacenter,
	})
	s.must(err)
	return answer.Returnval
}

// eventually waits until a condition holds.
func (s *testSite) eventually(what string, holds func() bool) {
	s.t.Helper()
	for {
		if holds() {
			return
		}
		select {
		case <-s.ctx.Done():
			s.t.Fatalf("never: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// status is what the control socket says of a VM.
func (s *testSite) status(vm *object.VirtualMachine) vmStatus {
	return s.vmStatus(vmOf(s.newContext(), vm.Reference()))
}
