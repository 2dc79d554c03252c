// The inventory of a site: one datacenter, one cluster of two hosts, two datastores, two networks.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// The newest versions that the simulator knows.
const (
	hardwareVersion = "vmx-21"
	hostVersion     = "8.0.2"
)

var (
	datastoreNames = []string{"datastore1", "datastore2"}
	productionName = "Production"
	managementType = "management"
)

// createModel builds the inventory. Nothing is served yet.
func (s *site) createModel() error {
	esx.HardwareVersion = hardwareVersion
	product := esx.HostSystem.Config.Product
	product.Version, product.ApiVersion = hostVersion, "8.0.3.0"
	model := simulator.VPX()
	model.Datacenter, model.Machine, model.Portgroup, model.Datastore = 0, 0, 0, 0
	about := &model.ServiceContent.About
	about.InstanceUuid = uuid.NewString()
	about.Name, about.Version, about.ApiVersion, about.Build = "VMware vCenter Server", "8.0.3", "8.0.3.0", "24022515"
	about.FullName = "VMware vCenter Server 8.0.3 build-24022515"
	if err := s.createBelowHome(model); err != nil {
		return err
	}
	s.model, s.service = model, model.Service
	s.service.Context.Map.Put(&registered{site: s})
	s.service.Context.Map.Handler = s.redirect

	ctx := context.Background()
	client, err := vim25.NewClient(ctx, s.service)
	if err != nil {
		return err
	}
	s.client = client
	datacenter, err := object.NewRootFolder(client).CreateDatacenter(ctx, s.Title+"-DC")
	if err != nil {
		return err
	}
	folders, err := datacenter.Folders(ctx)
	if err != nil {
		return err
	}
	cluster, err := folders.HostFolder.CreateCluster(ctx, s.Title+"-Cluster", types.ClusterConfigSpecEx{})
	if err != nil {
		return err
	}
	pool, err := cluster.ResourcePool(ctx)
	if err != nil {
		return err
	}
	s.places = inventory{
		datacenter: datacenter.Reference(), vmFolder: folders.VmFolder.Reference(),
		pool: pool.Reference(), cluster: cluster.Reference(),
	}
	for k := range hostsPerCluster {
		if err := s.addHost(ctx, cluster, k); err != nil {
			return fmt.Errorf("host %d: %w", k+1, err)
		}
	}
	return nil
}

// createBelowHome keeps the simulator's own files out of the machine's temporary folder.
func (s *site) createBelowHome(model *simulator.Model) error {
	before := os.Getenv("TMPDIR")
	if err := os.Setenv("TMPDIR", s.path("tmp")); err != nil {
		return err
	}
	defer os.Setenv("TMPDIR", before)
	return model.Create()
}

// addHost adds one host with its management address, datastores and networks.
func (s *site) addHost(ctx context.Context, cluster *object.ClusterComputeResource, k int) error {
	address := s.Net.host(s.Site, k)
	task, err := cluster.AddHost(ctx, types.HostConnectSpec{HostName: address}, true, nil, nil)
	if err != nil {
		return err
	}
	result, err := task.WaitForResult(ctx)
	if err != nil {
		return err
	}
	host := object.NewHostSystem(s.client, result.Result.(types.ManagedObjectReference))
	stores, err := host.ConfigManager().DatastoreSystem(ctx)
	if err != nil {
		return err
	}
	for _, name := range datastoreNames {
		if _, err := stores.CreateLocalDatastore(ctx, name, s.path("datastores", name)); err != nil {
			return err
		}
	}
	if k == 0 {
		networks, err := host.ConfigManager().NetworkSystem(ctx)
		if err != nil {
			return err
		}
		if err := networks.AddPortGroup(ctx, types.HostPortGroupSpec{Name: productionName, VswitchName: "vSwitch0"}); err != nil {
			return err
		}
	}
	s.describeHost(host.Reference(), address, k)
	return s.rememberHost(host.Reference(), address, k)
}

// describeHost gives the host its own addresses and makes every network and host know the other.
func (s *site) describeHost(reference types.ManagedObjectReference, address string, k int) {
	registry := s.service.Context.Map
	host := registry.Get(reference).(*simulator.HostSystem)
	host.Summary.ManagementServerIp = s.Net.address(siteNumber(s.Site), 1)

	nics := make([]types.HostVirtualNic, len(host.Config.Network.Vnic))
	copy(nics, host.Config.Network.Vnic)
	mac := fmt.Sprintf("00:50:56:02:%02x:%02x", siteNumber(s.Site), k+1)
	for i := range nics {
		ip := types.HostIpConfig{IpAddress: address, SubnetMask: "255.0.0.0"}
		nics[i].Spec.Ip, nics[i].Spec.Mac = &ip, mac
	}
	host.Config.Network.Vnic = nics
	selected := []types.VirtualNicManagerNetConfig{{
		NicType: managementType, MultiSelectAllowed: true, CandidateVnic: nics, SelectedVnic: []string{nics[0].Key},
	}}
	host.Config.VirtualNicManagerInfo = &types.HostVirtualNicManagerInfo{NetConfig: selected}
	if manager, ok := registry.Get(*host.ConfigManager.VirtualNicManager).(*simulator.HostVirtualNicManager); ok {
		manager.Info.NetConfig = selected
	}

	folder := registry.Get(registry.Get(s.places.datacenter).(*simulator.Datacenter).NetworkFolder).(*simulator.Folder)
	for _, child := range folder.ChildEntity {
		network, ok := registry.Get(child).(*mo.Network)
		if !ok {
			continue
		}
		if simulator.FindReference(host.Network, child) == nil {
			host.Network = append(host.Network, child)
		}
		if simulator.FindReference(network.Host, reference) == nil {
			network.Host = append(network.Host, reference)
		}
		cluster := registry.Get(s.places.cluster).(*simulator.ClusterComputeResource)
		if simulator.FindReference(cluster.Network, child) == nil {
			cluster.Network = append(cluster.Network, child)
		}
	}
}

// hostFolder is where a host keeps what is its own.
func (s *site) hostFolder(address string) string {
	return s.path("hosts", filepath.Base(address))
}
