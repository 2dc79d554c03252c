// Control requests to one site: what the tests and the demo look at and do beyond vCenter's own
// interface. `lab up` offers them on the lab's control socket.
package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

func (s *site) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /processes", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.processes()) })
	mux.HandleFunc("GET /vms/{name}", func(w http.ResponseWriter, r *http.Request) {
		if vm := s.vmNamed(w, r); vm != nil {
			writeJSON(w, s.vmStatus(vm))
		}
	})
	mux.HandleFunc("POST /vms/{name}/power", s.handlePower)
	mux.HandleFunc("POST /vms/{name}/hold-power-on", s.handleHold)
	mux.HandleFunc("GET /power-ons-held", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.holds.names()) })
	mux.HandleFunc("PUT /datastores/{name}", s.handleDatastore)
	mux.HandleFunc("GET /leaks", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.holdings()) })
	return mux
}

func (s *site) vmNamed(w http.ResponseWriter, r *http.Request) *simulator.VirtualMachine {
	for _, entity := range s.service.Context.Map.All("VirtualMachine") {
		if vm := entity.(*simulator.VirtualMachine); vm.Name == r.PathValue("name") {
			return vm
		}
	}
	http.Error(w, "no such virtual machine", http.StatusNotFound)
	return nil
}

// diskStatus is a disk as the tests see it.
type diskStatus struct {
	UUID          string `json:"uuid"`
	FlatPath      string `json:"flatPath"`
	CapacityBytes string `json:"capacityBytes"`
	Filtered      bool   `json:"filtered"`
}

// vmStatus is a VM as the tests see it.
type vmStatus struct {
	Moref        string       `json:"moref"`
	InstanceUUID string       `json:"instanceUuid"`
	PowerState   string       `json:"powerState"`
	Acknowledged uint64       `json:"acknowledged"`
	Verified     *uint64      `json:"verified"`
	Boots        int          `json:"boots"`
	Disks        []diskStatus `json:"disks"`
	ConsoleTail  []string     `json:"consoleTail"`
}

func (s *site) vmStatus(vm *simulator.VirtualMachine) vmStatus {
	record := s.record(vm.Self)
	status := vmStatus{Moref: vm.Self.Value, Disks: []diskStatus{}}
	ctx := s.newContext()
	ctx.WithLock(vm, func() {
		status.PowerState, status.InstanceUUID = string(vm.Runtime.PowerState), vm.Config.InstanceUuid
		disks, _ := s.disksOf(vm)
		for _, d := range disks {
			status.Disks = append(status.Disks, diskStatus{
				UUID: d.uuid, FlatPath: d.flat, CapacityBytes: strconv.FormatInt(d.capacity, 10), Filtered: record.tap(d.key) != "",
			})
		}
	})
	record.mu.Lock()
	defer record.mu.Unlock()
	status.Acknowledged, status.Verified, status.Boots = record.acknowledged, record.verified, record.boots
	status.ConsoleTail = slices.Clone(record.tail)
	return status
}

// handlePower takes "on" or "off", as a string or as the value of an object's only field.
func (s *site) handlePower(w http.ResponseWriter, r *http.Request) {
	vm := s.vmNamed(w, r)
	if vm == nil {
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<10))
	if err != nil {
		http.Error(w, "cannot read the request", http.StatusBadRequest)
		return
	}
	wanted := strings.Trim(string(body), "\" \n")
	var fields map[string]string
	if json.Unmarshal(body, &fields) == nil {
		for _, value := range fields {
			wanted = value
		}
	}
	if wanted != "on" && wanted != "off" {
		http.Error(w, `say "on" or "off"`, http.StatusBadRequest)
		return
	}
	if err := s.switchPower(r.Context(), vm.Self, wanted == "on"); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	writeJSON(w, map[string]string{"power": wanted})
}

// switchPower goes through vCenter as anybody's call would.
func (s *site) switchPower(ctx context.Context, reference types.ManagedObjectReference, on bool) error {
	vm := object.NewVirtualMachine(s.client, reference)
	start := vm.PowerOff
	if on {
		start = vm.PowerOn
	}
	task, err := start(ctx)
	if err != nil {
		return err
	}
	if _, err := task.WaitForResult(ctx); err != nil {
		if refused := ctxTaskFault(s, task.Reference()); refused != "" {
			return &faultError{text: refused}
		}
		return err
	}
	return nil
}

func ctxTaskFault(s *site, reference types.ManagedObjectReference) string {
	task, ok := s.service.Context.Map.Get(reference).(*simulator.Task)
	if !ok || task.Info.Error == nil {
		return ""
	}
	return faultText(task.Info.Error.Fault)
}

func (s *site) handleDatastore(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if !slices.Contains(datastoreNames, name) {
		http.Error(w, "no such datastore", http.StatusNotFound)
		return
	}
	var request struct {
		FreeBytes *int64 `json:"freeBytes"`
	}
	if !readJSON(w, r, &request) {
		return
	}
	s.claimFree(name, request.FreeBytes)
	writeJSON(w, map[string]int64{"freeBytes": s.freeBytes(name)})
}

// processes lists what runs for this site.
func (s *site) processes() []runningProcess {
	list := []runningProcess{}
	s.mu.Lock()
	for _, running := range s.machines {
		list = append(list, running.describe())
	}
	for _, h := range s.hosts {
		if daemon := h.running(); daemon != nil {
			list = append(list, runningProcess{Role: "replicator-host", Site: s.Site, Host: h.address, PID: daemon.pid()})
		}
	}
	s.mu.Unlock()
	list = append(list, s.sources()...)
	return slices.DeleteFunc(list, func(p runningProcess) bool { return p.PID == 0 })
}
