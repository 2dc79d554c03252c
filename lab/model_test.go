package main

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// all reads the named properties of every object of a kind.
func (s *testSite) all(kind string, properties []string, into any) {
	s.t.Helper()
	container, err := view.NewManager(s.client.Client).CreateContainerView(s.ctx, s.client.ServiceContent.RootFolder, []string{kind}, true)
	s.must(err)
	s.must(container.Retrieve(s.ctx, []string{kind}, properties, into))
}

func TestInventoryIsComplete(t *testing.T) {
	s := newTestSite(t, "127.28", sourceSite)
	var hosts []mo.HostSystem
	s.all("HostSystem", []string{"name", "config", "datastore", "network"}, &hosts)
	addresses := []string{}
	for _, host := range hosts {
		if len(host.Datastore) != 2 || len(host.Network) != 2 {
			t.Fatalf("%s has %d datastores and %d networks", host.Name, len(host.Datastore), len(host.Network))
		}
		for _, nics := range host.Config.VirtualNicManagerInfo.NetConfig {
			if nics.NicType != managementType || nics.SelectedVnic[0] != nics.CandidateVnic[0].Key {
				t.Fatalf("%+v", nics)
			}
			addresses = append(addresses, nics.CandidateVnic[0].Spec.Ip.IpAddress, host.Config.Network.Vnic[0].Spec.Ip.IpAddress)
		}
	}
	slices.Sort(addresses)
	if !slices.Equal(addresses, []string{"127.28.1.11", "127.28.1.11", "127.28.1.12", "127.28.1.12"}) {
		t.Fatalf("management addresses: %v", addresses)
	}
	names := func(kind string) []string {
		container, err := view.NewManager(s.client.Client).CreateContainerView(s.ctx, s.client.ServiceContent.RootFolder, []string{kind}, true)
		s.must(err)
		var content []types.ObjectContent
		s.must(container.Retrieve(s.ctx, []string{kind}, []string{"name"}, &content))
		found := []string{}
		for _, object := range content {
			found = append(found, object.PropSet[0].Val.(string))
		}
		slices.Sort(found)
		return found
	}
	for kind, wanted := range map[string][]string{
		"Datacenter": {"Source-DC"}, "ClusterComputeResource": {"Source-Cluster"},
		"Datastore": datastoreNames, "Network": {"Production", "VM Network"},
	} {
		if got := names(kind); !slices.Equal(got, wanted) {
			t.Fatalf("%s: %v", kind, got)
		}
	}
}

func TestHostOptionsAreMirrored(t *testing.T) {
	s := newTestSite(t, "127.28", sourceSite)
	host := s.hostOf(vmOf(s.newContext(), s.addVM(smallVM("vm", 0)).Reference()))
	var props mo.HostSystem
	s.must(property.DefaultCollector(s.client.Client).RetrieveOne(s.ctx, host.reference, []string{"configManager"}, &props))
	manager := object.NewOptionManager(s.client.Client, *props.ConfigManager.AdvancedOption)
	s.must(manager.Update(s.ctx, []types.BaseOptionValue{&types.OptionValue{Key: "Landfall.EnrolSecret", Value: "c2VjcmV0"}}))
	raw, err := os.ReadFile(host.optionsFile())
	s.must(err)
	values := map[string]string{}
	s.must(json.Unmarshal(raw, &values))
	if values["Landfall.EnrolSecret"] != "c2VjcmV0" {
		t.Fatalf("mirrored: %v", values)
	}
	got, err := manager.Query(s.ctx, "Landfall.EnrolSecret")
	s.must(err)
	if got[0].GetOptionValue().Value != "c2VjcmV0" {
		t.Fatalf("queried: %v", got)
	}
}
