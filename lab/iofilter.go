// IoFilterManager: installing the filter package on a cluster means that each of its hosts fetches
// the package, unpacks it and starts the daemon in it.
package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// filterInfo is what is installed on a cluster, with the trouble that hosts had.
type filterInfo struct {
	info   types.ClusterIoFilterInfo
	issues []types.IoFilterHostIssue
	good   map[string]bool // hosts that run it, by moref
}

// InstallIoFilterTask installs the package on every host of the cluster. Hosts that fail are issues;
// the task fails when none succeeds.
func (s *site) InstallIoFilterTask(ctx *simulator.Context, req *types.InstallIoFilter_Task) soap.HasFault {
	if f := s.needCluster(ctx, req.CompRes); f != nil {
		return &methods.InstallIoFilter_TaskBody{Fault_: f}
	}
	task := runTask(ctx, s.filterManager(ctx), "installIoFilter", func() (types.AnyType, error) {
		return nil, s.installFilter(ctx, req)
	})
	return &methods.InstallIoFilter_TaskBody{Res: &types.InstallIoFilter_TaskResponse{Returnval: task}}
}

func (s *site) filterManager(ctx *simulator.Context) types.ManagedObjectReference {
	content := ctx.Map.Get(types.ManagedObjectReference{Type: "ServiceInstance", Value: "ServiceInstance"}).(*simulator.ServiceInstance).Content
	return *content.IoFilterManager
}

func (s *site) needCluster(ctx *simulator.Context, reference types.ManagedObjectReference) *soap.Fault {
	if _, ok := ctx.Map.Get(reference).(*simulator.ClusterComputeResource); !ok {
		return fault(refuse(&types.InvalidArgument{InvalidProperty: "compRes"}, "%s is no cluster", reference.Value).fault)
	}
	return nil
}

func (s *site) installFilter(ctx *simulator.Context, req *types.InstallIoFilter_Task) error {
	s.mu.Lock()
	present := s.filters[req.CompRes.Value]
	s.mu.Unlock()
	if present != nil && len(present.good) > 0 {
		return refuse(&types.AlreadyExists{Name: present.info.Id}, "The IO filter %s is installed already", present.info.Id)
	}
	cluster := ctx.Map.Get(req.CompRes).(*simulator.ClusterComputeResource)
	installed := &filterInfo{good: map[string]bool{}}
	installed.info.OpType = string(types.IoFilterOperationInstall)
	installed.info.VibUrl = req.VibUrl
	var last error
	for _, reference := range cluster.Host {
		host := s.host(reference)
		info, err := host.install(req.VibUrl, req.VibSslTrust)
		if err != nil {
			last = err
			installed.issues = append(installed.issues, types.IoFilterHostIssue{
				Host:  reference,
				Issue: []types.LocalizedMethodFault{{Fault: installFault(err), LocalizedMessage: err.Error()}},
			})
			continue
		}
		installed.info.IoFilterInfo = info
		installed.good[reference.Value] = true
	}
	if len(installed.good) == 0 {
		return &faultError{fault: installFault(last), text: last.Error()}
	}
	s.mu.Lock()
	s.filters[req.CompRes.Value] = installed
	s.mu.Unlock()
	return nil
}

func installFault(err error) types.BaseMethodFault {
	var typed *faultError
	if errors.As(err, &typed) {
		return typed.fault
	}
	return refuse(&types.PlatformConfigFault{Text: err.Error()}, "%s", err.Error()).fault
}

func (s *site) host(reference types.ManagedObjectReference) *esxHost {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hosts[reference.Value]
}

// install fetches the package onto one host and starts its daemon.
func (h *esxHost) install(url string, trust types.BaseIoFilterManagerSslTrust) (types.IoFilterInfo, error) {
	raw, err := fetchPackage(url, trust)
	if err != nil {
		return types.IoFilterInfo{}, err
	}
	contents, err := openPackage(raw)
	if err != nil {
		return types.IoFilterInfo{}, err
	}
	program := filepath.Join(h.folder, "package", "bin", "replicator")
	if err := os.MkdirAll(filepath.Dir(program), 0o700); err != nil {
		return types.IoFilterInfo{}, err
	}
	if err := os.WriteFile(program+".new", contents.program, 0o700); err != nil {
		return types.IoFilterInfo{}, err
	}
	if err := os.Rename(program+".new", program); err != nil {
		return types.IoFilterInfo{}, err
	}
	return contents.info, h.startDaemon(program)
}

// filterOn is the filter that runs on the VM's host, or nil.
func (s *site) filterOn(ctx *simulator.Context, vm *simulator.VirtualMachine) *filterInfo {
	if vm.Runtime.Host == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, filter := range s.filters {
		if filter.good[vm.Runtime.Host.Value] {
			return filter
		}
	}
	return nil
}

// filterOfPolicy is the filter that a profile puts on disks of the VM, or nil.
func (s *site) filterOfPolicy(ctx *simulator.Context, vm *simulator.VirtualMachine, profile string) *filterInfo {
	if !s.isFilterProfile(profile) {
		return nil
	}
	return s.filterOn(ctx, vm)
}

// UninstallIoFilterTask removes the filter; refused while disks use it.
func (s *site) UninstallIoFilterTask(ctx *simulator.Context, req *types.UninstallIoFilter_Task) soap.HasFault {
	task := runTask(ctx, s.filterManager(ctx), "uninstallIoFilter", func() (types.AnyType, error) {
		return nil, s.uninstallFilter(ctx, req)
	})
	return &methods.UninstallIoFilter_TaskBody{Res: &types.UninstallIoFilter_TaskResponse{Returnval: task}}
}

func (s *site) uninstallFilter(ctx *simulator.Context, req *types.UninstallIoFilter_Task) error {
	installed, err := s.installedFilter(req.FilterId, req.CompRes)
	if err != nil {
		return err
	}
	if users := s.disksUsingFilter(ctx, installed); len(users) > 0 {
		return refuse(&types.FilterInUse{ResourceInUse: types.ResourceInUse{Type: "IoFilter", Name: req.FilterId}, Disk: users},
			"The IO filter %s is in use by %d disks", req.FilterId, len(users))
	}
	for reference := range installed.good {
		host := s.host(types.ManagedObjectReference{Type: "HostSystem", Value: reference})
		host.stopDaemon(terminateGrace)
		for _, name := range []string{"package", "state"} {
			if err := os.RemoveAll(filepath.Join(host.folder, name)); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	delete(s.filters, req.CompRes.Value)
	s.mu.Unlock()
	return nil
}

func (s *site) installedFilter(id string, cluster types.ManagedObjectReference) (*filterInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	installed := s.filters[cluster.Value]
	if installed == nil || installed.info.Id != id {
		return nil, refuse(&types.NotFound{}, "The IO filter %s is not installed on this cluster", id)
	}
	return installed, nil
}

// QueryIoFilterInfo lists what is installed on the cluster.
func (s *site) QueryIoFilterInfo(_ *simulator.Context, req *types.QueryIoFilterInfo) soap.HasFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := &types.QueryIoFilterInfoResponse{}
	if installed := s.filters[req.CompRes.Value]; installed != nil {
		answer.Returnval = append(answer.Returnval, installed.info)
	}
	return &methods.QueryIoFilterInfoBody{Res: answer}
}

// QueryIoFilterIssues lists the hosts that had trouble.
func (s *site) QueryIoFilterIssues(_ *simulator.Context, req *types.QueryIoFilterIssues) soap.HasFault {
	installed, err := s.installedFilter(req.FilterId, req.CompRes)
	if err != nil {
		return &methods.QueryIoFilterIssuesBody{Fault_: fault(methodFault(err))}
	}
	return &methods.QueryIoFilterIssuesBody{Res: &types.QueryIoFilterIssuesResponse{
		Returnval: types.IoFilterQueryIssueResult{OpType: installed.info.OpType, HostIssue: installed.issues},
	}}
}

// QueryDisksUsingFilter lists the disks that have the filter.
func (s *site) QueryDisksUsingFilter(ctx *simulator.Context, req *types.QueryDisksUsingFilter) soap.HasFault {
	installed, err := s.installedFilter(req.FilterId, req.CompRes)
	if err != nil {
		return &methods.QueryDisksUsingFilterBody{Fault_: fault(methodFault(err))}
	}
	return &methods.QueryDisksUsingFilterBody{Res: &types.QueryDisksUsingFilterResponse{Returnval: s.disksUsingFilter(ctx, installed)}}
}

func (s *site) disksUsingFilter(ctx *simulator.Context, installed *filterInfo) []types.VirtualDiskId {
	var users []types.VirtualDiskId
	for _, entity := range ctx.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		if vm.Runtime.Host == nil || !installed.good[vm.Runtime.Host.Value] {
			continue
		}
		policies, _ := s.record(vm.Self).associations()
		for key, profile := range policies {
			if s.isFilterProfile(profile) {
				users = append(users, types.VirtualDiskId{Vm: vm.Self, DiskId: key})
			}
		}
	}
	return users
}
