// What a powered-on virtual machine is to the rest of the lab: a guest in QEMU, a bare machine, or a shadow VM's agent.
package main

import (
	"fmt"
	"sync/atomic"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// machine is something that runs. kill may be called twice; done is closed when it has ended.
type machine interface {
	kill()
	done() <-chan struct{}
	ready() <-chan struct{}
	shutDown() error
	reset() error
	plug(d disk, tap string) error
	unplug(d disk) error
	insertTaps(taps map[int32]string, disks []disk) error
	removeTaps(disks []disk) error
	address() string
	cut() *atomic.Bool // whoever sets it first answers for the change of the power state
	describe() runningProcess
}

// runningProcess is an entry of the lab's list of processes.
type runningProcess struct {
	Role string `json:"role"`
	Site string `json:"site"`
	Host string `json:"host,omitempty"`
	VM   string `json:"vm,omitempty"`
	PID  int    `json:"pid"`
}

// startMachine starts what the VM is: a shadow VM when its CD-ROM holds our agent, a bare machine when its options say so,
// a guest otherwise.
func (s *site) startMachine(ctx *simulator.Context, vm *simulator.VirtualMachine, disks []disk, taps map[int32]string) (machine, error) {
	images, err := s.cdImages(vm)
	if err != nil {
		return nil, err
	}
	agent, configuration := "", ""
	for _, image := range images {
		if image.has(agentFile) {
			agent = image.path
		}
		if image.has(configurationFile) {
			configuration = image.path
		}
	}
	if agent != "" {
		return s.startShadow(vm, disks, agent, configuration)
	}
	switch kind := extraOption(vm, machineOption); kind {
	case "":
		return s.startGuest(vm, disks, taps)
	case bareMachine:
		return s.startBare(vm, disks, taps)
	default:
		return nil, fmt.Errorf("%s: %s is %q; the lab knows only %q", vm.Name, machineOption, kind, bareMachine)
	}
}

// holdDisks claims the VM's disks; a disk that another powered-on VM holds refuses the power-on.
func (s *site) holdDisks(vm types.ManagedObjectReference, disks []disk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range disks {
		if holder := s.openedBy[d.flat]; holder != "" && holder != vm.Value && !d.shared {
			return fileLocked(d.file)
		}
	}
	for _, d := range disks {
		s.openedBy[d.flat] = vm.Value
	}
	return nil
}

// releaseDisks gives up the given disks, or all of the VM when none are named.
func (s *site) releaseDisks(vm types.ManagedObjectReference, disks ...disk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for flat, holder := range s.openedBy {
		if holder != vm.Value {
			continue
		}
		named := len(disks) == 0
		for _, d := range disks {
			named = named || d.flat == flat
		}
		if named {
			delete(s.openedBy, flat)
		}
	}
}

// openFile says whether a powered-on VM holds the file, or something below it.
func (s *site) openFile(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for flat := range s.openedBy {
		if flat == path || simulator.VirtualDiskBackingFileName(path) == flat || inside(flat, path) {
			return true
		}
	}
	return false
}

func inside(path, folder string) bool {
	return len(path) > len(folder) && path[:len(folder)] == folder && path[len(folder)] == '/'
}

func extraOption(vm *simulator.VirtualMachine, key string) string {
	for _, option := range vm.Config.ExtraConfig {
		if o := option.GetOptionValue(); o.Key == key {
			return fmt.Sprint(o.Value)
		}
	}
	return ""
}
