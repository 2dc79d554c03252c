// The hosts of a site as far as the lab makes them real: advanced options mirrored into a file, and
// the host daemon that the installed filter package brings, kept running.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	hypervisorCallTimeout = 15 * time.Second
	hypervisorUpTimeout   = 10 * time.Second
)

// esxHost is one host: its address, its options, and its daemon once the filter is installed.
type esxHost struct {
	reference types.ManagedObjectReference
	options   types.ManagedObjectReference
	site      string
	address   string
	folder    string
	socket    string
	client    *http.Client

	mu      sync.Mutex
	values  map[string]any
	daemon  *service
	program string
}

// rememberHost makes the lab's side of a host that the model has created.
func (s *site) rememberHost(reference types.ManagedObjectReference, address string, k int) error {
	host := s.service.Context.Map.Get(reference).(*simulator.HostSystem)
	socket := filepath.Join(s.Runtime, fmt.Sprintf("%d-host%d.sock", siteNumber(s.Site), k+1))
	h := &esxHost{
		reference: reference, options: *host.ConfigManager.AdvancedOption, site: s.Site, address: address,
		folder: s.hostFolder(address), socket: socket, values: map[string]any{},
	}
	h.client = &http.Client{Timeout: hypervisorCallTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	s.mu.Lock()
	s.hosts[reference.Value] = h
	s.mu.Unlock()
	return h.writeOptions()
}

func (s *site) hostOfOptions(options types.ManagedObjectReference) *esxHost {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hosts {
		if h.options == options {
			return h
		}
	}
	return nil
}

// hostOf is the host that a VM is on.
func (s *site) hostOf(vm *simulator.VirtualMachine) *esxHost {
	s.mu.Lock()
	defer s.mu.Unlock()
	if vm.Runtime.Host == nil {
		return nil
	}
	return s.hosts[vm.Runtime.Host.Value]
}

// UpdateOptions changes a host's advanced options and mirrors them for its daemon.
func (s *site) UpdateOptions(ctx *simulator.Context, req *types.UpdateOptions) soap.HasFault {
	h := s.hostOfOptions(req.This)
	manager := ctx.Map.Get(req.This).(*simulator.OptionManager)
	var answer soap.HasFault
	ctx.WithLock(manager, func() { answer = manager.UpdateOptions(req) })
	if answer.Fault() != nil {
		return answer
	}
	h.mu.Lock()
	for _, change := range req.ChangedValue {
		option := change.GetOptionValue()
		h.values[option.Key] = option.Value
	}
	h.mu.Unlock()
	if err := h.writeOptions(); err != nil {
		return &methods.UpdateOptionsBody{Fault_: fault(methodFault(refuse(&types.HostConfigFault{}, "The host cannot keep its options: %v", err)))}
	}
	return answer
}

func (h *esxHost) optionsFile() string { return filepath.Join(h.folder, "options.json") }

// writeOptions replaces the mirror in one step; it may hold secrets.
func (h *esxHost) writeOptions() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw, err := json.Marshal(h.values)
	if err != nil {
		return err
	}
	fresh := h.optionsFile() + ".new"
	if err := os.WriteFile(fresh, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, h.optionsFile())
}

// startDaemon runs the replicator's host daemon and waits until its hypervisor face answers.
func (h *esxHost) startDaemon(program string) error {
	state := filepath.Join(h.folder, "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	daemon := &service{
		name: "replicator host " + h.address, path: program,
		args: []string{
			"host", "--address", h.address, "--port", fmt.Sprint(hostPort), "--state", state,
			"--hypervisor-socket", h.socket, "--options", h.optionsFile(),
		},
		env:     []string{hostMarker + "=" + h.address, siteMarker + "=" + h.site, "TMPDIR=" + filepath.Dir(h.socket)},
		logPath: filepath.Join(h.folder, "replicator.log"),
	}
	if err := daemon.start(); err != nil {
		return err
	}
	h.mu.Lock()
	h.daemon, h.program = daemon, program
	h.mu.Unlock()
	if err := h.call(http.MethodGet, "/v1/attachments", nil, nil); err != nil {
		h.stopDaemon(terminateGrace)
		return fmt.Errorf("the host daemon does not come up: %w", err)
	}
	return nil
}

func (h *esxHost) stopDaemon(grace time.Duration) {
	h.mu.Lock()
	daemon := h.daemon
	h.daemon = nil
	h.mu.Unlock()
	if daemon != nil {
		daemon.stop(grace)
	}
	_ = os.Remove(h.socket)
}

func (h *esxHost) running() *service {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.daemon
}

// daemonRefusal is a refusal of the daemon in its own words.
type daemonRefusal struct {
	Status int
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Title  string `json:"title"`
	Remedy string `json:"remedy"`
}

func (r *daemonRefusal) Error() string {
	text := r.Title
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	if r.Remedy != "" {
		text += ". " + r.Remedy
	}
	return fmt.Sprintf("%s (%s)", text, r.Code)
}

// call speaks to the daemon's hypervisor face; a daemon that is just being restarted is waited for.
func (h *esxHost) call(method, path string, request, answer any) error {
	if h.running() == nil {
		return errors.New("no IO filter is installed on host " + h.address)
	}
	deadline := time.Now().Add(hypervisorUpTimeout)
	for {
		err := h.tryCall(method, path, request, answer)
		var refusal *daemonRefusal
		if err == nil || errors.As(err, &refusal) || !isAway(err) || time.Now().After(deadline) || h.running() == nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// isAway tells a daemon that is not there from one that answers badly.
func isAway(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

func (h *esxHost) tryCall(method, path string, request, answer any) error {
	var body io.Reader
	if request != nil {
		raw, err := json.Marshal(request)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, "http://host"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	response, err := h.client.Do(req)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		refusal := &daemonRefusal{Status: response.StatusCode, Title: response.Status}
		_ = json.Unmarshal(raw, refusal)
		return refusal
	}
	if answer == nil || len(raw) == 0 {
		return nil
	}
	return json.Unmarshal(raw, answer)
}

// stopHosts ends all daemons and what they left running.
func (s *site) stopHosts() {
	s.mu.Lock()
	hosts := make([]*esxHost, 0, len(s.hosts))
	for _, h := range s.hosts {
		hosts = append(hosts, h)
	}
	s.mu.Unlock()
	for _, h := range hosts {
		h.stopDaemon(0)
	}
}
