// What the vSphere client needs of the schema. Add a method or property here, run the generator, commit both.
package main

// Calls by name; the call's owner and argument types come from the schema.
var selectedMethods = []string{
	// sessions
	"RetrieveServiceContent", "CurrentTime", "Login", "Logout", "SessionIsActive", "AcquireGenericServiceTicket",
	// reading and following
	"RetrievePropertiesEx", "ContinueRetrievePropertiesEx", "CancelRetrievePropertiesEx",
	"CreatePropertyCollector", "DestroyPropertyCollector", "CreateFilter", "DestroyPropertyFilter",
	"WaitForUpdatesEx", "CancelWaitForUpdates", "CreateContainerView", "DestroyView",
	"FindByUuid", "FindAllByUuid", "FindByInventoryPath", "FindByDatastorePath", "FindChild", "CancelTask",
	// virtual machines
	"CreateVM_Task", "RegisterVM_Task", "UnregisterVM", "ReconfigVM_Task", "PowerOnVM_Task", "PowerOffVM_Task",
	"ShutdownGuest", "Destroy_Task", "Rename_Task", "CreateSnapshot_Task", "RemoveSnapshot_Task",
	"RemoveAllSnapshots_Task", "AnswerVM", "CreateFolder", "QueryConfigOptionDescriptor",
	// disks and files
	"CreateVirtualDisk_Task", "DeleteVirtualDisk_Task", "MoveVirtualDisk_Task", "CopyVirtualDisk_Task",
	"ExtendVirtualDisk_Task", "QueryVirtualDiskUuid", "SetVirtualDiskUuid",
	"MakeDirectory", "DeleteDatastoreFile_Task", "MoveDatastoreFile_Task", "CopyDatastoreFile_Task",
	"SearchDatastore_Task", "SearchDatastoreSubFolders_Task",
	// hosts and IO filters
	"QueryOptions", "UpdateOptions",
	"InstallIoFilter_Task", "UninstallIoFilter_Task", "UpgradeIoFilter_Task", "QueryIoFilterInfo",
	"QueryIoFilterIssues", "QueryDisksUsingFilter",
	"ResolveInstallationErrorsOnCluster_Task", "ResolveInstallationErrorsOnHost_Task",
	// registration, rights, marks
	"FindExtension", "RegisterExtension", "UpdateExtension", "UnregisterExtension",
	"HasPrivilegeOnEntities", "AddCustomFieldDef", "RemoveCustomFieldDef", "SetField",
	// storage policies
	"PbmRetrieveServiceContent", "PbmFetchCapabilityMetadata", "PbmCreate", "PbmUpdate", "PbmDelete",
	"PbmQueryProfile", "PbmRetrieveContent", "PbmQueryAssociatedProfile", "PbmQueryAssociatedProfiles",
	"PbmQueryAssociatedEntity",
}

// Properties of managed objects that the client reads; inherited ones are found by name.
var selectedProperties = map[string][]string{
	"ServiceInstance": {"content"},
	"SessionManager":  {"currentSession"},
	"Folder":          {"name", "parent", "childEntity", "childType"},
	"Datacenter": {
		"name", "parent", "vmFolder", "hostFolder", "datastoreFolder", "networkFolder", "datastore", "network",
	},
	"ComputeResource": {
		"name", "parent", "resourcePool", "host", "datastore", "network", "environmentBrowser",
	},
	"ClusterComputeResource": {
		"name", "parent", "resourcePool", "host", "datastore", "network", "environmentBrowser", "overallStatus",
	},
	"HostSystem": {
		"name", "parent", "config", "configManager", "runtime", "summary", "vm", "datastore", "network",
		"overallStatus",
	},
	"ResourcePool":                   {"name", "parent", "owner", "resourcePool", "vm"},
	"VirtualApp":                     {"name", "parent", "owner", "resourcePool", "vm"},
	"Datastore":                      {"name", "parent", "info", "summary", "host", "vm", "browser", "capability"},
	"StoragePod":                     {"name", "parent", "childEntity"},
	"Network":                        {"name", "parent", "summary", "host", "vm"},
	"OpaqueNetwork":                  {"name", "parent", "summary", "host", "vm"},
	"DistributedVirtualPortgroup":    {"name", "parent", "summary", "host", "vm", "key", "config", "portKeys"},
	"DistributedVirtualSwitch":       {"name", "parent", "uuid", "portgroup"},
	"VmwareDistributedVirtualSwitch": {"name", "parent", "uuid", "portgroup"},
	"VirtualMachine": {
		"name", "parent", "config", "runtime", "guest", "summary", "datastore", "network", "snapshot",
		"rootSnapshot", "resourcePool", "parentVApp", "layoutEx", "capability", "environmentBrowser",
		"customValue", "guestHeartbeatStatus", "overallStatus",
	},
	"Task":                {"info"},
	"ContainerView":       {"view"},
	"CustomFieldsManager": {"field"},
	"ExtensionManager":    {"extensionList"},
	"OptionManager":       {"setting"},
}

// Types that reach us only inside anyType values, fault details, or that a caller must build.
var extraTypes = []string{
	"OptionValue", "HostIpConfig", "NoPermission", "InvalidProperty", "FileLocked", "InsufficientStorageSpace",
	"InvalidPowerState", "InvalidDeviceSpec", "ManagedObjectNotFound", "FileAlreadyExists", "FileNotFound",
	"NoDiskSpace", "DuplicateName", "AlreadyExists", "InvalidName", "PlatformConfigFault", "GenericVmConfigFault",
	"TaskInProgress", "ConcurrentAccess", "InvalidArgument", "NotAuthenticated", "InvalidLogin",
	"RequestCanceled", "ToolsUnavailable", "RestrictedVersion", "LocalizedMethodFault",
	"PbmCapabilityProfile", "PbmCapabilityDiscreteSet", "PbmCapabilityRange", "HostDatastoreBrowserSearchResults",
}

// Bases whose descendants are not pulled in: hundreds of types that we only ever show by name.
var closedBases = map[string]bool{
	"MethodFault": true, "RuntimeFault": true, "Event": true, "DynamicData": true, "DVPortSetting": true,
	"OptionType": true, "DVSHealthCheckCapability": true, "DatastoreInfo": true, "CryptoSpec": false,
}

// Large types of which only these fields are described; the others stay opaque (read as plain objects, never sent).
var keptFields = map[string][]string{
	"HostConfigInfo":            {"host", "product", "network", "virtualNicManagerInfo", "option"},
	"HostNetworkInfo":           {"vnic", "consoleVnic"},
	"HostListSummary":           {"host", "hardware", "runtime", "config", "overallStatus", "managementServerIp"},
	"HostRuntimeInfo":           {"connectionState", "powerState", "standbyMode", "inMaintenanceMode", "bootTime"},
	"HostVirtualNicSpec":        {"ip", "mac", "mtu", "portgroup"},
	"DVPortgroupConfigInfo":     {"key", "name", "numPorts", "distributedVirtualSwitch", "type", "uplink"},
	"HostConfigManager":         {"advancedOption", "datastoreSystem", "networkSystem", "virtualNicManager"},
	"HostListSummaryQuickStats": {},
}

// Order the schema source gets wrong: fields of a type that must directly follow another one.
//
// govmomi v0.56.0 appends two 9.1 fields to VirtualMachineConfigSpec. vCenter declares them after managedBy and
// refuses later-declared elements that precede them (govmomi pull request 4124). Goes when our release has that fix;
// the generator stops with an error then.
var orderFixes = []orderFix{{
	typeName: "VirtualMachineConfigSpec",
	after:    "managedBy",
	fields:   []string{"extensionCompatibilityConstraint", "skipExtensionCompatibilityChecks"},
}}

// First versions of fields between 6.5 and 7.0, which the schema source does not date, where a caller may send them to
// an older server. Compared once with the dates in pyVmomi 8.0.3, as was the order of all types generated here.
var sinceFixes = map[string]string{
	"VirtualMachineConfigSpec.createDate":                      "6.7",
	"VirtualMachineConfigSpec.vcpuConfig":                      "7.0.0.0",
	"VirtualMachineConfigSpec.sgxInfo":                         "7.0.0.0",
	"VirtualMachineConfigSpec.guestMonitoringModeInfo":         "7.0.0.0",
	"VirtualMachineFlagInfo.vvtdEnabled":                       "6.7",
	"VirtualMachineFlagInfo.vbsEnabled":                        "6.7",
	"VirtualMachineDefinedProfileSpec.profileParams":           "6.7",
	"VirtualDeviceConnectInfo.migrateConnect":                  "6.7",
	"VirtualDisk.nativeUnmanagedLinkedClone":                   "6.7",
	"VirtualDiskRawDiskMappingVer1BackingInfo.deltaDiskFormat": "6.7",
	"VirtualDiskRawDiskMappingVer1BackingInfo.deltaGrainSize":  "6.7",
	"VirtualVmxnet3Vrdma.deviceProtocol":                       "6.7",
	"ReplicationConfigSpec.netEncryptionEnabled":               "6.7",
	"ReplicationConfigSpec.encryptionDestination":              "6.7",
	"ReplicationConfigSpec.encryptionPort":                     "6.7",
	"ReplicationConfigSpec.remoteCertificateThumbprint":        "6.7",
}

type orderFix struct {
	typeName, after string
	fields          []string
}

// What a reference held by a managed object's property points at; the source says it for data types only.
var propertyTargets = map[string]string{
	"parent": "ManagedEntity", "childEntity": "ManagedEntity", "view": "ManagedEntity",
	"vmFolder": "Folder", "hostFolder": "Folder", "datastoreFolder": "Folder", "networkFolder": "Folder",
	"datastore": "Datastore", "network": "Network", "host": "HostSystem", "vm": "VirtualMachine",
	"resourcePool": "ResourcePool", "owner": "ComputeResource", "browser": "HostDatastoreBrowser",
	"environmentBrowser": "EnvironmentBrowser", "rootSnapshot": "VirtualMachineSnapshot",
	"parentVApp": "VirtualApp", "portgroup": "DistributedVirtualPortgroup",
}
