// Storage policies (SPBM): the simulator keeps the profiles, the site knows which disk has which, and
// both answer truthfully together. A profile in use cannot be deleted.
package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/pbm"
	pbmmethods "github.com/vmware/govmomi/pbm/methods"
	pbmsimulator "github.com/vmware/govmomi/pbm/simulator"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	filterNamespace  = "landfall"
	filterCapability = "replication"
)

// profileManager is the simulator's with true associations.
type profileManager struct {
	*pbmsimulator.ProfileManager
	site *site
}

// registerPolicies puts our profile manager over the simulator's when the server starts.
func (s *site) registerPolicies() {
	simulator.RegisterEndpoint(func(service *simulator.Service, _ *simulator.Registry) {
		if service != s.service {
			return
		}
		manager := types.ManagedObjectReference{Type: "PbmProfileProfileManager", Value: "ProfileManager"}
		stock, ok := pbmsimulator.New().Get(manager).(*pbmsimulator.ProfileManager)
		if !ok {
			return
		}
		ours := &profileManager{ProfileManager: stock, site: s}
		registry := simulator.NewRegistry()
		registry.Path, registry.Namespace, registry.Cookie = pbm.Path, pbm.Namespace, simulator.SOAPCookie
		registry.Put(ours)
		service.RegisterSDK(registry)
		s.mu.Lock()
		s.profiles = ours
		s.mu.Unlock()
	})
}

// profile finds a profile by its id.
func (s *site) profile(id string) *pbmtypes.PbmCapabilityProfile {
	s.mu.Lock()
	manager := s.profiles
	s.mu.Unlock()
	if manager == nil || id == "" {
		return nil
	}
	answer := manager.PbmRetrieveContent(&pbmtypes.PbmRetrieveContent{ProfileIds: []pbmtypes.PbmProfileId{{UniqueId: id}}}).(*pbmmethods.PbmRetrieveContentBody)
	if answer.Res == nil || len(answer.Res.Returnval) == 0 {
		return nil
	}
	profile, _ := answer.Res.Returnval[0].(pbmtypes.BasePbmCapabilityProfile)
	if profile == nil {
		return nil
	}
	return profile.GetPbmCapabilityProfile()
}

func (s *site) checkProfile(id string) error {
	if id == "" || s.profile(id) != nil {
		return nil
	}
	return refuse(&types.InvalidArgument{InvalidProperty: "spec.deviceChange.profile"}, "The storage policy %s does not exist", id)
}

// isFilterProfile says whether the profile asks for our filter's capability.
func (s *site) isFilterProfile(id string) bool {
	profile := s.profile(id)
	if profile == nil {
		return false
	}
	constraints, ok := profile.Constraints.(*pbmtypes.PbmCapabilitySubProfileConstraints)
	if !ok {
		return false
	}
	for _, sub := range constraints.SubProfiles {
		for _, capability := range sub.Capability {
			if capability.Id.Namespace == filterNamespace && capability.Id.Id == filterCapability {
				return true
			}
		}
	}
	return false
}

// customProfiles lists the profiles that somebody has made here.
func (s *site) customProfiles() []*pbmtypes.PbmCapabilityProfile {
	s.mu.Lock()
	manager := s.profiles
	s.mu.Unlock()
	if manager == nil {
		return nil
	}
	answer := manager.PbmQueryProfileDetails(&pbmtypes.PbmQueryProfileDetails{}).(*pbmmethods.PbmQueryProfileDetailsBody)
	var found []*pbmtypes.PbmCapabilityProfile
	for _, details := range answer.Res.Returnval {
		base, ok := details.Profile.(pbmtypes.BasePbmCapabilityProfile)
		if !ok {
			continue
		}
		profile := base.GetPbmCapabilityProfile()
		if profile.SystemCreatedProfileType == "" && !profile.IsDefault && profile.CreatedBy != "Temporary user handle" {
			found = append(found, profile)
		}
	}
	return found
}

// association is one entity that has a profile.
type association struct {
	entity  pbmtypes.PbmServerObjectRef
	profile string
}

// associations lists every entity with a profile in this vCenter.
func (s *site) associations() []association {
	var found []association
	for _, entity := range s.service.Context.Map.All("VirtualMachine") {
		vm := entity.Reference()
		disks, home := s.record(vm).associations()
		if home != "" {
			found = append(found, association{objectRef(pbmtypes.PbmObjectTypeVirtualMachine, vm.Value), home})
		}
		for key, profile := range disks {
			found = append(found, association{objectRef(pbmtypes.PbmObjectTypeVirtualDiskId, fmt.Sprintf("%s:%d", vm.Value, key)), profile})
		}
	}
	return found
}

func objectRef(kind pbmtypes.PbmObjectType, key string) pbmtypes.PbmServerObjectRef {
	return pbmtypes.PbmServerObjectRef{ObjectType: string(kind), Key: key}
}

// matches says whether a question about the wanted entity covers the one that has a profile.
func (a association) matches(wanted pbmtypes.PbmServerObjectRef) bool {
	switch wanted.ObjectType {
	case string(pbmtypes.PbmObjectTypeVirtualMachineAndDisks):
		vm, _, _ := strings.Cut(a.entity.Key, ":")
		return vm == wanted.Key
	case string(pbmtypes.PbmObjectTypeVirtualDiskUUID):
		return false
	}
	return a.entity.ObjectType == wanted.ObjectType && a.entity.Key == wanted.Key
}

func (m *profileManager) profilesOf(entity pbmtypes.PbmServerObjectRef) []pbmtypes.PbmProfileId {
	var ids []pbmtypes.PbmProfileId
	for _, a := range m.site.associations() {
		id := pbmtypes.PbmProfileId{UniqueId: a.profile}
		if a.matches(entity) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// PbmQueryAssociatedProfile answers for one entity.
func (m *profileManager) PbmQueryAssociatedProfile(req *pbmtypes.PbmQueryAssociatedProfile) soap.HasFault {
	return &pbmmethods.PbmQueryAssociatedProfileBody{Res: &pbmtypes.PbmQueryAssociatedProfileResponse{Returnval: m.profilesOf(req.Entity)}}
}

// PbmQueryAssociatedProfiles answers for several entities.
func (m *profileManager) PbmQueryAssociatedProfiles(req *pbmtypes.PbmQueryAssociatedProfiles) soap.HasFault {
	answer := &pbmtypes.PbmQueryAssociatedProfilesResponse{}
	for _, entity := range req.Entities {
		answer.Returnval = append(answer.Returnval, pbmtypes.PbmQueryProfileResult{Object: entity, ProfileId: m.profilesOf(entity)})
	}
	return &pbmmethods.PbmQueryAssociatedProfilesBody{Res: answer}
}

func (m *profileManager) entitiesOf(profile, kind string) []pbmtypes.PbmServerObjectRef {
	var entities []pbmtypes.PbmServerObjectRef
	for _, a := range m.site.associations() {
		if a.profile == profile && (kind == "" || a.entity.ObjectType == kind) {
			entities = append(entities, a.entity)
		}
	}
	return entities
}

// PbmQueryAssociatedEntity lists who has a profile.
func (m *profileManager) PbmQueryAssociatedEntity(req *pbmtypes.PbmQueryAssociatedEntity) soap.HasFault {
	return &pbmmethods.PbmQueryAssociatedEntityBody{Res: &pbmtypes.PbmQueryAssociatedEntityResponse{
		Returnval: m.entitiesOf(req.Profile.UniqueId, req.EntityType),
	}}
}

// PbmQueryAssociatedEntities lists who has any of several profiles.
func (m *profileManager) PbmQueryAssociatedEntities(req *pbmtypes.PbmQueryAssociatedEntities) soap.HasFault {
	answer := &pbmtypes.PbmQueryAssociatedEntitiesResponse{}
	for _, profile := range req.Profiles {
		for _, entity := range m.entitiesOf(profile.UniqueId, "") {
			answer.Returnval = append(answer.Returnval, pbmtypes.PbmQueryProfileResult{Object: entity, ProfileId: []pbmtypes.PbmProfileId{profile}})
		}
	}
	return &pbmmethods.PbmQueryAssociatedEntitiesBody{Res: answer}
}

// PbmCreate refuses a name that is taken.
func (m *profileManager) PbmCreate(ctx *simulator.Context, req *pbmtypes.PbmCreate) soap.HasFault {
	for _, profile := range m.site.customProfiles() {
		if profile.Name == req.CreateSpec.Name {
			return &pbmmethods.PbmCreateBody{Fault_: simulator.Fault("The name '"+req.CreateSpec.Name+"' already exists",
				&types.InvalidArgument{InvalidProperty: "createSpec.name"})}
		}
	}
	return m.ProfileManager.PbmCreate(ctx, req)
}

// PbmDelete keeps profiles that are in use and says so per profile.
func (m *profileManager) PbmDelete(req *pbmtypes.PbmDelete) soap.HasFault {
	answer := &pbmtypes.PbmDeleteResponse{}
	var free []pbmtypes.PbmProfileId
	for _, id := range req.ProfileId {
		users := len(m.entitiesOf(id.UniqueId, ""))
		if users == 0 {
			free = append(free, id)
			continue
		}
		answer.Returnval = append(answer.Returnval, pbmtypes.PbmProfileOperationOutcome{
			ProfileId: id,
			Fault: &types.LocalizedMethodFault{
				Fault:            &types.ResourceInUse{Type: "PbmProfile", Name: id.UniqueId},
				LocalizedMessage: "The storage policy is in use by " + strconv.Itoa(users) + " objects",
			},
		})
	}
	m.ProfileManager.PbmDelete(&pbmtypes.PbmDelete{This: req.This, ProfileId: free})
	return &pbmmethods.PbmDeleteBody{Res: answer}
}

// PbmFetchCapabilityMetadata shows the filter's capability once the filter is installed.
func (m *profileManager) PbmFetchCapabilityMetadata(_ *pbmtypes.PbmFetchCapabilityMetadata) soap.HasFault {
	answer := &pbmtypes.PbmFetchCapabilityMetadataResponse{}
	m.site.mu.Lock()
	installed := len(m.site.filters) > 0
	m.site.mu.Unlock()
	if installed {
		answer.Returnval = []pbmtypes.PbmCapabilityMetadataPerCategory{{
			SubCategory: filterCapability,
			CapabilityMetadata: []pbmtypes.PbmCapabilityMetadata{{
				Id: pbmtypes.PbmCapabilityMetadataUniqueId{Namespace: filterNamespace, Id: filterCapability},
				Summary: pbmtypes.PbmExtendedElementDescription{
					Label: "Replication", Summary: "Replication filter", Key: filterCapability, MessageCatalogKeyPrefix: filterNamespace,
				},
			}},
		}}
	}
	return &pbmmethods.PbmFetchCapabilityMetadataBody{Res: answer}
}
