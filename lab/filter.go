// The IO filter on a VM's disks: attaching the tap when a storage policy asks for it, detaching it,
// and telling the daemon when the VM's side of the disks is gone.
package main

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const closedRetryDelay = 500 * time.Millisecond

// policyWishes is what a change asks for: the profile of each disk ("" for none), and of the VM home.
type policyWishes struct {
	disks map[int32]string
	home  *string
}

// policyWishes reads the storage policies out of a change and refuses unknown ones.
func (s *site) policyWishes(spec types.VirtualMachineConfigSpec, disks []disk) (policyWishes, error) {
	wishes := policyWishes{disks: map[int32]string{}}
	for _, change := range spec.DeviceChange {
		device := change.GetVirtualDeviceConfigSpec()
		profile, given := profileOf(device.Profile)
		if !given {
			continue
		}
		if err := s.checkProfile(profile); err != nil {
			return wishes, err
		}
		if device.Operation != types.VirtualDeviceConfigSpecOperationEdit {
			continue
		}
		for _, d := range disks {
			if d.key == device.Device.GetVirtualDevice().Key {
				wishes.disks[d.key] = profile
			}
		}
	}
	if profile, given := profileOf(spec.VmProfile); given {
		if err := s.checkProfile(profile); err != nil {
			return wishes, err
		}
		wishes.home = &profile
	}
	return wishes, nil
}

// addFor adds the wishes of disks that the change has just added.
func (w *policyWishes) addFor(added map[*types.VirtualDisk][]types.BaseVirtualMachineProfileSpec, disks []disk) {
	for device, profiles := range added {
		profile, given := profileOf(profiles)
		if !given || profile == "" {
			continue
		}
		for _, d := range disks {
			if d.key == device.Key {
				if w.disks == nil {
					w.disks = map[int32]string{}
				}
				w.disks[d.key] = profile
			}
		}
	}
}

func profileOf(profiles []types.BaseVirtualMachineProfileSpec) (id string, given bool) {
	for _, profile := range profiles {
		if defined, ok := profile.(*types.VirtualMachineDefinedProfileSpec); ok {
			return defined.ProfileId, true
		}
		given = true
	}
	return "", given
}

// applyPolicies makes the wishes true: taps first, then the record, so that a failure leaves no lie.
func (s *site) applyPolicies(ctx *simulator.Context, vm *simulator.VirtualMachine, wishes policyWishes, disks []disk) error {
	record := s.record(vm.Self)
	var attach, detach []disk
	for _, d := range disks {
		profile, wished := wishes.disks[d.key]
		if !wished {
			continue
		}
		had, wants := s.isFilterProfile(record.policy(d.key)), s.isFilterProfile(profile)
		if wants && !had {
			attach = append(attach, d)
		}
		if had && !wants {
			detach = append(detach, d)
		}
	}
	if err := s.insertFilter(ctx, vm, attach); err != nil {
		return err
	}
	if err := s.detachFilter(ctx, vm, detach); err != nil {
		return err
	}
	for key, profile := range wishes.disks {
		record.setPolicy(key, profile)
	}
	if wishes.home != nil {
		record.mu.Lock()
		record.homePolicy = *wishes.home
		record.mu.Unlock()
	}
	return nil
}

// insertFilter attaches disks and, if the VM runs, moves the guest onto the taps.
func (s *site) insertFilter(ctx *simulator.Context, vm *simulator.VirtualMachine, disks []disk) error {
	if len(disks) == 0 {
		return nil
	}
	if s.filterOn(ctx, vm) == nil {
		return fmt.Errorf("the IO filter of the storage policy is not installed on the host of %s", vm.Name)
	}
	taps, err := s.attachAll(ctx, vm, disks)
	if err != nil {
		return err
	}
	running := s.machineOf(vm.Self)
	if running == nil {
		s.tellClosed(vm)
		return nil
	}
	if err := running.insertTaps(taps, disks); err != nil {
		s.releaseTaps(vm, disks)
		return err
	}
	return nil
}

// filteredDisks are the disks whose storage policy is one of the filter's.
func (s *site) filteredDisks(vm *simulator.VirtualMachine, disks []disk) []disk {
	record := s.record(vm.Self)
	var filtered []disk
	for _, d := range disks {
		if s.isFilterProfile(record.policy(d.key)) {
			filtered = append(filtered, d)
		}
	}
	return filtered
}

// attachAll attaches disks at the VM's host daemon and returns their taps by disk key.
func (s *site) attachAll(ctx *simulator.Context, vm *simulator.VirtualMachine, disks []disk) (map[int32]string, error) {
	taps := map[int32]string{}
	if len(disks) == 0 {
		return taps, nil
	}
	host := s.hostOf(vm)
	if host == nil || host.running() == nil {
		return nil, fmt.Errorf("the IO filter of the storage policy is not installed on the host of %s", vm.Name)
	}
	s.stopTellingClosed(vm)
	record := s.record(vm.Self)
	for i, d := range disks {
		var answer struct {
			NbdSocket string `json:"nbdSocket"`
		}
		err := host.call(http.MethodPost, "/v1/attach", map[string]string{
			"vmUuid": vmUUID(vm), "diskUuid": d.uuid, "path": d.flat, "capacityBytes": strconv.FormatInt(d.capacity, 10),
		}, &answer)
		if err == nil {
			err = waitForTap(answer.NbdSocket)
		}
		if err != nil {
			if s.machineOf(vm.Self) != nil {
				s.releaseTaps(vm, disks[:i])
			} else {
				s.tellClosed(vm)
			}
			return nil, fmt.Errorf("the IO filter refuses disk %s: %w", d.file, err)
		}
		taps[d.key] = answer.NbdSocket
		record.mu.Lock()
		record.taps[d.key] = answer.NbdSocket
		record.mu.Unlock()
	}
	return taps, nil
}

// detachFilter moves a running guest back onto its files and detaches the disks.
func (s *site) detachFilter(_ *simulator.Context, vm *simulator.VirtualMachine, disks []disk) error {
	record := s.record(vm.Self)
	var tapped []disk
	for _, d := range disks {
		if record.tap(d.key) != "" {
			tapped = append(tapped, d)
		}
	}
	if len(tapped) == 0 {
		return nil
	}
	if running := s.machineOf(vm.Self); running != nil {
		for _, d := range tapped {
			if err := waitForTap(record.tap(d.key)); err != nil {
				return fmt.Errorf("disk %s cannot leave the IO filter now: %w", d.file, err)
			}
		}
		if err := running.removeTaps(tapped); err != nil {
			return err
		}
	}
	s.releaseTaps(vm, tapped)
	return nil
}

// releaseTaps detaches disks that no guest uses through the tap any more.
func (s *site) releaseTaps(vm *simulator.VirtualMachine, disks []disk) {
	host := s.hostOf(vm)
	record := s.record(vm.Self)
	for _, d := range disks {
		err := host.call(http.MethodPost, "/v1/detach", map[string]string{"vmUuid": vmUUID(vm), "diskUuid": d.uuid}, nil)
		if err != nil {
			log.Printf("detach %s of %s: %v", d.uuid, vm.Name, err)
		}
		record.mu.Lock()
		delete(record.taps, d.key)
		record.mu.Unlock()
	}
}

// tellClosed tells the daemon that the VM's side is gone: at once if it answers, else until it does
// or the VM is opened again.
func (s *site) tellClosed(vm *simulator.VirtualMachine) {
	record := s.record(vm.Self)
	record.mu.Lock()
	attached := len(record.taps) > 0
	record.mu.Unlock()
	host := s.hostOf(vm)
	if !attached || host == nil {
		return
	}
	request := map[string]string{"vmUuid": vmUUID(vm)}
	if host.tryCall(http.MethodPost, "/v1/closed", request, nil) == nil {
		return
	}
	s.stopTellingClosed(vm)
	stop := make(chan struct{})
	record.mu.Lock()
	record.closing = stop
	record.mu.Unlock()
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(closedRetryDelay):
			}
			err := host.tryCall(http.MethodPost, "/v1/closed", request, nil)
			var refusal *daemonRefusal
			if err == nil || errors.As(err, &refusal) {
				return
			}
		}
	}()
}

// stopTellingClosed ends the repetition before the VM is opened again.
func (s *site) stopTellingClosed(vm *simulator.VirtualMachine) {
	record := s.record(vm.Self)
	record.mu.Lock()
	defer record.mu.Unlock()
	if record.closing != nil {
		close(record.closing)
		record.closing = nil
	}
}

func vmUUID(vm *simulator.VirtualMachine) string { return strings.ToLower(vm.Config.InstanceUuid) }
