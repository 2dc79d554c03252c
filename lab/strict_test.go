package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

func smallVM(name string, disks int) scenarioVM {
	v := scenarioVM{Name: name}
	for range disks {
		v.Disks = append(v.Disks, scenarioDisk{CapacityBytes: "16777216"})
	}
	return v
}

func TestWrongLoginIsRefused(t *testing.T) {
	s := newTestSite(t, "127.21", sourceSite)
	_, err := govmomi.NewClient(s.ctx, s.url("wrong"), true)
	if _, ok := faultOfError(err).(types.InvalidLogin); !ok {
		t.Fatalf("got %v", err)
	}
}

func TestDatastoreFilesNeedALogin(t *testing.T) {
	s := newTestSite(t, "127.21", sourceSite)
	address := "https://" + s.Net.vcenter(s.Site) + "/folder/a/b.iso?dcPath=Source-DC&dsName=datastore1"
	put := func(cookie bool) int {
		request, _ := http.NewRequestWithContext(s.ctx, http.MethodPut, address, strings.NewReader("hello"))
		client := http.Client{Transport: s.client.Client.Client.DefaultTransport()}
		if cookie {
			for _, c := range s.client.Client.Jar.Cookies(s.url("")) {
				request.AddCookie(c)
			}
		}
		response, err := client.Do(request)
		s.must(err)
		response.Body.Close()
		return response.StatusCode
	}
	if got := put(false); got != http.StatusUnauthorized {
		t.Fatalf("without a login: %d", got)
	}
	if got := put(true); got != http.StatusNotFound {
		t.Fatalf("into a missing folder: %d", got)
	}
	s.must(object.NewFileManager(s.client.Client).MakeDirectory(s.ctx, "[datastore1] a", s.dc, true))
	if got := put(true); got != http.StatusCreated {
		t.Fatalf("with a login: %d", got)
	}
	var none int64
	s.claimFree("datastore1", &none)
	if got := put(true); got != http.StatusInsufficientStorage {
		t.Fatalf("on a full datastore: %d", got)
	}
	s.claimFree("datastore1", nil)
	s.must(s.client.Logout(context.Background()))
	if got := put(true); got != http.StatusUnauthorized {
		t.Fatalf("after the log-out: %d", got)
	}
}

func TestUnknownPlacesAreRefused(t *testing.T) {
	s := newTestSite(t, "127.21", sourceSite)
	create := func(change func(*types.VirtualMachineConfigSpec)) any {
		v := smallVM("new", 0)
		v.Site = s.Site
		s.must(v.complete())
		spec := v.spec("[datastore1] new", nil)
		change(&spec)
		folder := object.NewFolder(s.client.Client, s.places.vmFolder)
		return s.faultOf(folder.CreateVM(s.ctx, spec, object.NewResourcePool(s.client.Client, s.places.pool), nil))
	}
	if f, ok := create(func(spec *types.VirtualMachineConfigSpec) { spec.Files.VmPathName = "[nowhere] new/new.vmx" }).(*types.InvalidDatastore); !ok {
		t.Fatalf("unknown datastore: %T", f)
	}
	network := create(func(spec *types.VirtualMachineConfigSpec) {
		for _, change := range spec.DeviceChange {
			if card, ok := change.GetVirtualDeviceConfigSpec().Device.(*types.VirtualVmxnet3); ok {
				card.Backing.(*types.VirtualEthernetCardNetworkBackingInfo).DeviceName = "Nowhere"
			}
		}
	})
	if _, ok := network.(*types.InvalidDeviceBacking); !ok {
		t.Fatalf("unknown network: %T", network)
	}
	s.addVM(smallVM("new", 0))
	if f, ok := create(func(spec *types.VirtualMachineConfigSpec) { spec.Files.VmPathName = "[datastore1] other/new.vmx" }).(*types.DuplicateName); !ok {
		t.Fatalf("name taken: %T", f)
	}
}

func TestBusyAndReservedPlacesAreRefused(t *testing.T) {
	s := newTestSite(t, "127.21", sourceSite)
	vm := s.addVM(smallVM("vm", 1))
	s.done(s.createDisk("[datastore1] vm/extra.vmdk", 1<<24))
	controller := s.firstDisk(vm).ControllerKey
	for unit, what := range map[int32]string{0: "taken", 7: "the controller's own", 99: "not there"} {
		if f := s.faultOf(s.reconfigure(vm, attachment("[datastore1] vm/extra.vmdk", controller, unit))); !isInvalidSpec(f) {
			t.Fatalf("place %d (%s): %T", unit, what, f)
		}
	}
	if f, ok := s.faultOf(s.reconfigure(vm, attachment("[datastore1] vm/extra.vmdk", 4711, 1))).(*types.InvalidController); !ok {
		t.Fatalf("unknown controller: %T", f)
	}
	task, err := s.reconfigure(vm, attachment("[datastore1] vm/none.vmdk", controller, 1))
	s.must(err)
	info, _ := task.WaitForResult(s.ctx)
	if _, ok := info.Error.Fault.(*types.FileNotFound); !ok || info.Error.LocalizedMessage != "File [datastore1] vm/none.vmdk was not found" {
		t.Fatalf("missing file: %+v", info.Error)
	}
	s.done(s.reconfigure(vm, attachment("[datastore1] vm/extra.vmdk", controller, 1)))
	if f, ok := s.faultOf(s.reconfigure(vm, attachment("[datastore1] vm/extra.vmdk", controller, 2))).(*types.InvalidDeviceBacking); !ok {
		t.Fatalf("attached twice: %T", f)
	}
}

func isInvalidSpec(f any) bool {
	_, ok := f.(*types.InvalidDeviceSpec)
	return ok
}

func TestFullDatastoreIsRefused(t *testing.T) {
	s := newTestSite(t, "127.21", sourceSite)
	var none int64
	s.claimFree("datastore1", &none)
	if f, ok := s.faultOf(s.createDisk("[datastore1] full.vmdk", 1<<24)).(*types.NoDiskSpace); !ok {
		t.Fatalf("got %T", f)
	}
	s.claimFree("datastore1", nil)
	s.done(s.createDisk("[datastore1] full.vmdk", 1<<24))
}

func TestDestroyKeepsTheFilesOfOthers(t *testing.T) {
	s := newTestSite(t, "127.21", sourceSite)
	vm := s.addVM(smallVM("vm", 1))
	s.done(s.createDisk("[datastore1] vm/other.vmdk", 1<<24))
	s.done(vm.Destroy(s.ctx))
	left := fmt.Sprint(s.holdings().DatastoreFiles)
	if left != "[[datastore1] vm/ [datastore1] vm/other-flat.vmdk [datastore1] vm/other.vmdk]" {
		t.Fatalf("left: %s", left)
	}
}

func TestInstancesDiffer(t *testing.T) {
	one, two := newTestSite(t, "127.21", sourceSite), newTestSite(t, "127.21", destinationSite)
	a, b := one.client.ServiceContent.About, two.client.ServiceContent.About
	if a.InstanceUuid == b.InstanceUuid || a.InstanceUuid == "" {
		t.Fatal("two vCenters share an instance UUID")
	}
	if !strings.HasPrefix(a.ApiVersion, "8.0.3") {
		t.Fatalf("API version %s", a.ApiVersion)
	}
	first, second := one.addVM(smallVM("same", 0)), two.addVM(smallVM("same", 0))
	if one.status(first).InstanceUUID == two.status(second).InstanceUUID {
		t.Fatal("two VMs share an instance UUID")
	}
	if _, err := methods.GetCurrentTime(one.ctx, two.client); err != nil {
		t.Fatal(err)
	}
}
