// What the lab remembers of each virtual machine beyond what vCenter does: its address, what its
// console said, and which storage policies are set. Kept in memory for the life of the lab.
package main

import (
	"strconv"
	"strings"
	"sync"

	"github.com/vmware/govmomi/vim25/types"
)

const consoleTailLines = 200

// vmRecord is one VM's memory. Its own lock makes it usable from the console's reader.
type vmRecord struct {
	number int // k of its address, counted per site and kind

	mu           sync.Mutex
	acknowledged uint64
	verified     *uint64
	boots        int
	tail         []string
	policies     map[int32]string // disk key -> profile id
	taps         map[int32]string // disk key -> NBD socket of its tap
	homePolicy   string
	closing      chan struct{} // closed to give up telling the filter that the VM is closed
}

// record finds or makes the memory of a VM.
func (s *site) record(vm types.ManagedObjectReference) *vmRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[vm.Value]
	if r == nil {
		r = &vmRecord{policies: map[int32]string{}, taps: map[int32]string{}}
		s.records[vm.Value] = r
	}
	return r
}

// number gives the VM the lowest free address number and keeps it.
func (s *site) number(vm types.ManagedObjectReference) int {
	r := s.record(vm)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.number == 0 {
		taken := map[int]bool{}
		for _, other := range s.records {
			taken[other.number] = true
		}
		for r.number = 1; taken[r.number]; r.number++ {
			continue
		}
	}
	return r.number
}

// forget drops the memory of a destroyed VM.
func (s *site) forget(vm types.ManagedObjectReference) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, vm.Value)
}

// hear takes one line of the console into account. Acknowledgements are counted, not kept.
func (r *vmRecord) hear(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "ACK":
		if n, err := strconv.ParseUint(rest, 10, 64); err == nil {
			r.acknowledged = n
		}
	case "VERIFIED":
		if n, err := strconv.ParseUint(rest, 10, 64); err == nil {
			r.verified = &n
		}
	case "LAB-BOOT":
		r.boots++
	}
	if word == "ACK" {
		return
	}
	r.tail = append(r.tail, line)
	if len(r.tail) > consoleTailLines {
		r.tail = append(r.tail[:0], r.tail[len(r.tail)-consoleTailLines:]...)
	}
}

// policy is the storage policy of a disk, or "".
func (r *vmRecord) policy(key int32) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.policies[key]
}

// tap is the NBD socket of a disk that is attached to the filter, or "".
func (r *vmRecord) tap(key int32) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taps[key]
}

func (r *vmRecord) setPolicy(key int32, profile string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if profile == "" {
		delete(r.policies, key)
		return
	}
	r.policies[key] = profile
}

// associations lists the VM's policies: its disks by key, and its home.
func (r *vmRecord) associations() (disks map[int32]string, home string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	disks = make(map[int32]string, len(r.policies))
	for key, profile := range r.policies {
		disks[key] = profile
	}
	return disks, r.homePolicy
}
