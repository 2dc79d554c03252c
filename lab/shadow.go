// The shadow VM: a VM whose CD-ROM is the agent ISO. The lab runs the program out of that ISO beside
// the VM, with what the agent's init would prepare: its configuration, its state, its disks by UUID.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
)

const (
	receiverPollDelay = 100 * time.Millisecond
	shadowShutDown    = 2 * time.Second
)

// shadow is a running shadow VM.
type shadow struct {
	name    string
	site    string
	ip      string
	disks   string
	service *service
	up      chan struct{}
	gone    chan struct{}
	byUs    atomic.Bool
	once    sync.Once
}

func (v *shadow) done() <-chan struct{}  { return v.gone }
func (v *shadow) ready() <-chan struct{} { return v.up }
func (v *shadow) address() string        { return v.ip }
func (v *shadow) cut() *atomic.Bool      { return &v.byUs }

func (v *shadow) kill() { v.end(0) }

func (v *shadow) end(grace time.Duration) {
	v.once.Do(func() {
		v.service.stop(grace)
		close(v.gone)
	})
	<-v.gone
}

func (v *shadow) shutDown() error {
	go v.end(shadowShutDown)
	return nil
}

// reset kills the agent; it is started again as after a reset.
func (v *shadow) reset() error {
	if pid := v.service.pid(); pid != 0 {
		return syscall.Kill(pid, syscall.SIGKILL)
	}
	return nil
}

func (v *shadow) describe() runningProcess {
	return runningProcess{Role: "receiver", Site: v.site, VM: v.name, PID: v.service.pid()}
}

func (v *shadow) plug(d disk, _ string) error { return linkDisk(v.disks, d) }

func (v *shadow) unplug(d disk) error {
	err := os.Remove(filepath.Join(v.disks, d.uuid))
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func (v *shadow) insertTaps(map[int32]string, []disk) error {
	return fmt.Errorf("a shadow VM's disks cannot be filtered")
}

func (v *shadow) removeTaps([]disk) error { return nil }

// linkDisk shows a SCSI disk to the agent under its UUID; the state disk on SATA is not one of them.
func linkDisk(folder string, d disk) error {
	if !d.onSCSI() {
		return nil
	}
	link := filepath.Join(folder, d.uuid)
	_ = os.Remove(link)
	return os.Symlink(d.flat, link)
}

// startShadow prepares the agent's surroundings and starts it.
func (s *site) startShadow(vm *simulator.VirtualMachine, disks []disk, agent, configuration string) (machine, error) {
	if configuration == "" {
		return nil, fmt.Errorf("%s has the agent's ISO but no CD-ROM with %s", vm.Name, configurationFile)
	}
	folder := s.path("machines", vm.Self.Value)
	links, state := filepath.Join(folder, "disks"), s.shadowState(vm, disks)
	program, config := filepath.Join(folder, "replicator"), filepath.Join(folder, "config.json")
	if err := os.RemoveAll(links); err != nil {
		return nil, err
	}
	for _, made := range []string{links, state} {
		if err := os.MkdirAll(made, 0o700); err != nil {
			return nil, err
		}
	}
	if err := (image{agent}).extract(agentFile, program, 0o700); err != nil {
		return nil, err
	}
	if err := (image{configuration}).extract(configurationFile, config, 0o600); err != nil {
		return nil, err
	}
	for _, d := range disks {
		if err := linkDisk(links, d); err != nil {
			return nil, err
		}
	}
	k := s.number(vm.Self)
	if k > shadowsMax {
		return nil, fmt.Errorf("the lab's WAN has room for %d shadow VMs", shadowsMax)
	}
	listen := s.Net.shadow(s.Site, k)
	v := &shadow{
		name: vm.Name, site: s.Site, ip: s.Net.shadowSeen(s.Site, k), disks: links,
		up: make(chan struct{}), gone: make(chan struct{}),
		service: &service{
			name: "replicator receiver " + vm.Name, path: program,
			args: []string{
				"receiver", "--config", config, "--address", listen, "--port", fmt.Sprint(receiverPort),
				"--state", state, "--disks", links,
			},
			logPath: filepath.Join(folder, "replicator.log"),
		},
	}
	if err := v.service.start(); err != nil {
		return nil, err
	}
	go v.await(listen, receiverPort)
	return v, nil
}

// await reports the VM ready when its agent first listens. It looks at the kernel's list of sockets:
// a connection would be noise in the agent's log.
func (v *shadow) await(address string, port int) {
	for !listening(address, port) {
		select {
		case <-v.gone:
			return
		case <-time.After(receiverPollDelay):
		}
	}
	close(v.up)
}

// listening says whether some process listens on exactly this IPv4 address and port.
func listening(address string, port int) bool {
	ip := net.ParseIP(address).To4()
	sockets, err := os.ReadFile("/proc/net/tcp")
	if ip == nil || err != nil {
		return false
	}
	wanted := fmt.Sprintf(" %02X%02X%02X%02X:%04X 00000000:0000 0A ", ip[3], ip[2], ip[1], ip[0], port)
	return strings.Contains(string(sockets), wanted)
}

// shadowState is the folder that stands for the file system on the VM's state disk: it goes where
// that disk goes. A shadow VM without a state disk has one of its own.
func (s *site) shadowState(vm *simulator.VirtualMachine, disks []disk) string {
	for _, d := range disks {
		if !d.onSCSI() {
			return filepath.Join(s.Home, "state-disks", d.uuid)
		}
	}
	return filepath.Join(s.Home, "machines", vm.Self.Value, "state")
}

// removeShadowState deletes what was on a destroyed VM's state disk.
func (s *site) removeShadowState(vm *simulator.VirtualMachine, disks []disk) {
	for _, d := range disks {
		if d.onSCSI() {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.Home, "state-disks", d.uuid)); err != nil {
			log.Printf("%s: remove state: %v", vm.Name, err)
		}
	}
}
