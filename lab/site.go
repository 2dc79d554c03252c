// A site: one vCenter with its hosts, virtual machines and files. This file holds what the site
// knows and how calls to the simulator are redirected to our versions of them (hooks_*.go).
package main

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// siteConfig is what `lab up` tells `lab vcenter`.
type siteConfig struct {
	Site     string       `json:"site"`
	Title    string       `json:"title"`
	Net      network      `json:"net"`
	Home     string       `json:"home"`
	Runtime  string       `json:"runtime"`
	Control  string       `json:"control"`
	Build    string       `json:"build"`
	User     string       `json:"user"`
	Password string       `json:"password"`
	VMs      []scenarioVM `json:"vms"`
}

// site is a running vCenter. mu guards the maps; vSphere objects have the simulator's own locks.
type site struct {
	siteConfig
	self    types.ManagedObjectReference
	service *simulator.Service
	server  *simulator.Server
	model   *simulator.Model
	client  *vim25.Client
	places  inventory

	mu       sync.Mutex
	machines map[string]machine     // what runs, by the VM's moref
	records  map[string]*vmRecord   // what the lab remembers of each VM, by moref
	hosts    map[string]*esxHost    // by moref
	openedBy map[string]string      // flat file -> moref of the powered-on VM that holds it
	free     map[string]int64       // datastore name -> free bytes as told by a test
	profiles *profileManager        // storage policies
	filters  map[string]*filterInfo // installed IO filters by cluster moref
	holds    *powerOnHolds          // power-ons that a test holds back
}

// inventory names the objects that the model creates once.
type inventory struct {
	datacenter types.ManagedObjectReference
	vmFolder   types.ManagedObjectReference
	pool       types.ManagedObjectReference
	cluster    types.ManagedObjectReference
}

func newSite(config siteConfig) *site {
	return &site{
		siteConfig: config,
		self:       types.ManagedObjectReference{Type: "LabSite", Value: config.Site},
		machines:   map[string]machine{},
		records:    map[string]*vmRecord{},
		hosts:      map[string]*esxHost{},
		openedBy:   map[string]string{},
		free:       map[string]int64{},
		filters:    map[string]*filterInfo{},
		holds:      newPowerOnHolds(),
	}
}

// registered is the site as an object of the simulator's registry. Searches look at the first field of every object
// there and end the call when it is no managed object.
type registered struct {
	mo.ServiceManager
	*site
}

// Reference names the site among the simulator's objects.
func (r *registered) Reference() types.ManagedObjectReference { return r.self }

// Lock and Unlock are empty: calls to different VMs must not wait for each other here.
func (s *site) Lock() {}

// Unlock is Lock's other half.
func (s *site) Unlock() {}

// redirected lists the methods that the site answers instead of the simulator.
var redirected = map[string]map[string]bool{
	"VirtualMachine": {
		"PowerOnVM_Task": true, "PowerOffVM_Task": true, "ShutdownGuest": true, "RebootGuest": true,
		"ResetVM_Task": true, "SuspendVM_Task": true, "ReconfigVM_Task": true, "Destroy_Task": true,
		"UnregisterVM": true,
	},
	"Folder": {"CreateVM_Task": true},
	"VirtualDiskManager": {
		"CreateVirtualDisk_Task": true, "DeleteVirtualDisk_Task": true, "MoveVirtualDisk_Task": true,
		"CopyVirtualDisk_Task": true, "ExtendVirtualDisk_Task": true, "QueryVirtualDiskUuid": true,
		"SetVirtualDiskUuid": true,
	},
	"FileManager": {"DeleteDatastoreFile_Task": true, "MoveDatastoreFile_Task": true},
	"Datastore":   {"RefreshDatastore": true},
	"IoFilterManager": {
		"InstallIoFilter_Task": true, "UninstallIoFilter_Task": true, "QueryIoFilterInfo": true,
		"QueryIoFilterIssues": true, "QueryDisksUsingFilter": true,
	},
}

// redirect sends a call to the site; the request's body still names the object it is about.
func (s *site) redirect(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	if ctx.Session == nil {
		return nil, nil
	}
	if redirected[method.This.Type][method.Name] || s.isHostOption(method) {
		if method.This.Type != "IoFilterManager" && ctx.Map.Get(method.This) == nil {
			return nil, nil
		}
		method.This = s.self
	}
	return nil, nil
}

func (s *site) isHostOption(method *simulator.Method) bool {
	return method.This.Type == "OptionManager" && method.Name == "UpdateOptions" && s.hostOfOptions(method.This) != nil
}

// background is a context for work that outlives a request; it shares no lock with it.
func background(ctx *simulator.Context) *simulator.Context {
	return &simulator.Context{Context: context.Background(), Map: ctx.Map, Session: ctx.Session}
}

// fault wraps a method fault for a call's answer.
func fault(f types.BaseMethodFault) *soap.Fault {
	return simulator.Fault(faultText(f), f)
}

// waitTask waits for a task of the simulator and gives its fault, if any.
func waitTask(ctx *simulator.Context, reference types.ManagedObjectReference) types.BaseMethodFault {
	task, ok := ctx.Map.Get(reference).(*simulator.Task)
	if !ok {
		return &types.ManagedObjectNotFound{Obj: reference}
	}
	task.Wait()
	if task.Info.Error == nil {
		return nil
	}
	return task.Info.Error.Fault
}

func vmOf(ctx *simulator.Context, reference types.ManagedObjectReference) *simulator.VirtualMachine {
	vm, _ := ctx.Map.Get(reference).(*simulator.VirtualMachine)
	return vm
}

func (s *site) machineOf(vm types.ManagedObjectReference) machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machines[vm.Value]
}

// path joins below the site's home and makes the folder.
func (s *site) path(elements ...string) string {
	folder := filepath.Join(append([]string{s.Home}, elements...)...)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		log.Printf("make %s: %v", folder, err)
	}
	return folder
}
