// Held power-ons: a test may ask that a VM's guest does not start yet, so that it can look at disks
// that nobody writes. The call waits before the VM is locked: everything else about it still answers.
package main

import (
	"log"
	"net/http"
	"slices"
	"sync"
	"time"
)

// holdMax is the longest that a power-on is held: below the time a patient client waits for a call.
const holdMax = 60 * time.Second

// powerOnHolds knows which VMs are held, by name (they may not exist yet), and which calls wait.
type powerOnHolds struct {
	mu      sync.Mutex
	held    map[string]chan struct{}
	waiting map[string]int
}

func newPowerOnHolds() *powerOnHolds {
	return &powerOnHolds{held: map[string]chan struct{}{}, waiting: map[string]int{}}
}

// set holds the power-ons of a VM, or lets them go on.
func (h *powerOnHolds) set(name string, hold bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	release, held := h.held[name]
	if hold && !held {
		h.held[name] = make(chan struct{})
	}
	if !hold && held {
		close(release)
		delete(h.held, name)
	}
}

// wait returns at once for a VM that is not held, else when it is released or after holdMax.
func (h *powerOnHolds) wait(name string) {
	h.mu.Lock()
	release, held := h.held[name]
	if !held {
		h.mu.Unlock()
		return
	}
	h.waiting[name]++
	h.mu.Unlock()
	select {
	case <-release:
	case <-time.After(holdMax):
		log.Printf("power-on of %s was held for %s and goes on", name, holdMax)
	}
	h.mu.Lock()
	if h.waiting[name]--; h.waiting[name] == 0 {
		delete(h.waiting, name)
	}
	h.mu.Unlock()
}

// names lists the VMs whose power-on waits now.
func (h *powerOnHolds) names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]string, 0, len(h.waiting))
	for name := range h.waiting {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func (s *site) handleHold(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Hold bool `json:"hold"`
	}
	if !readJSON(w, r, &request) {
		return
	}
	s.holds.set(r.PathValue("name"), request.Hold)
	writeJSON(w, request)
}
