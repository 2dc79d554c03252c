// The replicator's source processes: children of the host daemons that outlive them, so they are
// found by the marks that they inherited.
package main

import (
	"os"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
)

// sources lists this site's source processes with their hosts and VMs.
func (s *site) sources() []runningProcess {
	var found []runningProcess
	for _, process := range markedProcesses(os.Getenv(runMarker)) {
		if process.environment(siteMarker) != s.Site || !slices.Contains(process.args, "vm-source") {
			continue
		}
		found = append(found, runningProcess{
			Role: "replicator-source", Site: s.Site, Host: process.environment(hostMarker),
			VM: s.vmInArguments(process.args), PID: process.pid,
		})
	}
	return found
}

// vmInArguments names the VM whose UUID the process was started with.
func (s *site) vmInArguments(args []string) string {
	line := strings.ToLower(strings.Join(args, " "))
	for _, entity := range s.service.Context.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		if vm.Config != nil && strings.Contains(line, vmUUID(vm)) {
			return vm.Name
		}
	}
	return ""
}
