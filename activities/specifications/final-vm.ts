/**
 * The VM at the destination as an exact replica of the source (product row M7): a pure function from the
 * source's configuration to the specification. What is copied, changed and left out stands in lists here.
 */
import type {
  AnyOptionValue,
  AnyVirtualMachineBootOptionsBootableDevice,
  VirtualMachineConfigInfo,
  VirtualMachineConfigSpec,
} from '../../vsphere/index.ts';
import { finalDevices, type FinalDisk } from './final-devices.ts';
import type { NetworkPlug } from './device-changes.ts';

export interface FinalVmWish {
  readonly name: string;
  /** `[datastore] folder` */
  readonly folder: string;
  /** By device key of the source. Disks that are not named stay behind. */
  readonly disks: readonly FinalDisk[];
  /** Destination network by the name of the source network, or by its port group key. */
  readonly networkFor: (source: { name: string | undefined; portgroupKey: string | undefined }) => NetworkPlug;
}

/** Options that belong to the old place: files, features of its hosts, change tracking, filters. */
const droppedOptions: readonly RegExp[] = [
  /^nvram$/,
  /^sched\.swap\.derivedName$/,
  /^migrate\./,
  /^hbr_filter\./,
  /ctkEnabled$/,
  /iofilters?/i,
  /^vmware\.tools\./,
  /^guestinfo\./,
  /^replay\./,
  /^evcCompatibilityMode$/,
  /^SET\./,
  /^landfall\./,
];

/** Guests find their network cards by PCI slot, so these always go along. */
const keptOptions = /(\.pciSlotNumber$|^pciBridge)/;

export function finalVmSpec(
  source: VirtualMachineConfigInfo,
  wish: FinalVmWish,
): VirtualMachineConfigSpec & { name: string } {
  const { hardware } = source;
  const devices = finalDevices(hardware.device ?? [], wish);
  return {
    files: { vmPathName: `${wish.folder}/${wish.name}.vmx` },
    ...identityOf(source),
    numCPUs: hardware.numCPU,
    numCoresPerSocket: hardware.numCoresPerSocket,
    memoryMB: BigInt(hardware.memoryMB),
    virtualICH7MPresent: hardware.virtualICH7MPresent,
    virtualSMCPresent: hardware.virtualSMCPresent,
    motherboardLayout: hardware.motherboardLayout,
    ...resourcesOf(source),
    ...behaviourOf(source),
    deviceChange: devices.changes,
    bootOptions: bootOptionsOf(source, devices.newKeys),
    extraConfig: optionsOf(source.extraConfig ?? []),
    name: wish.name,
  };
}

/** The BIOS UUID stays the guest's; the instance UUID may stay because the other vCenter is another world. */
function identityOf(source: VirtualMachineConfigInfo): VirtualMachineConfigSpec {
  return {
    version: source.version,
    uuid: source.uuid,
    instanceUuid: source.instanceUuid,
    guestId: source.guestId,
    alternateGuestName: source.alternateGuestName,
    annotation: source.annotation,
  };
}

function resourcesOf(source: VirtualMachineConfigInfo): VirtualMachineConfigSpec {
  return {
    cpuAllocation: source.cpuAllocation,
    memoryAllocation: source.memoryAllocation,
    latencySensitivity: source.latencySensitivity,
    memoryHotAddEnabled: source.memoryHotAddEnabled,
    cpuHotAddEnabled: source.cpuHotAddEnabled,
    cpuHotRemoveEnabled: source.cpuHotRemoveEnabled,
    memoryReservationLockedToMax: source.memoryReservationLockedToMax,
    nestedHVEnabled: source.nestedHVEnabled,
    vPMCEnabled: source.vPMCEnabled,
    sevEnabled: source.sevEnabled,
  };
}

function behaviourOf(source: VirtualMachineConfigInfo): VirtualMachineConfigSpec {
  return {
    flags: source.flags,
    tools: toolsOf(source),
    consolePreferences: source.consolePreferences,
    powerOpInfo: source.defaultPowerOps,
    rebootPowerOff: source.rebootPowerOff,
    firmware: source.firmware,
    swapPlacement: source.swapPlacement,
    maxMksConnections: source.maxMksConnections,
    guestAutoLockEnabled: source.guestAutoLockEnabled,
    messageBusTunnelEnabled: source.messageBusTunnelEnabled,
  };
}

/** Only the settings: version and install state are found out anew at the destination. */
function toolsOf(source: VirtualMachineConfigInfo): VirtualMachineConfigSpec['tools'] {
  if (source.tools === undefined) return undefined;
  const { toolsVersion, toolsInstallType, lastInstallInfo, ...settings } = source.tools;
  void [toolsVersion, toolsInstallType, lastInstallInfo];
  return settings;
}

/** Boot order names devices by key, and keys are new. A device that stays behind leaves the order. */
function bootOptionsOf(
  source: VirtualMachineConfigInfo,
  newKeys: ReadonlyMap<number, number>,
): VirtualMachineConfigSpec['bootOptions'] {
  if (source.bootOptions === undefined) return undefined;
  const { bootOrder, ...options } = source.bootOptions;
  const order = (bootOrder ?? []).flatMap((device): AnyVirtualMachineBootOptionsBootableDevice[] => {
    if (!('deviceKey' in device)) return [device];
    const deviceKey = newKeys.get(device.deviceKey);
    return deviceKey === undefined ? [] : [{ ...device, deviceKey }];
  });
  return order.length === 0 ? options : { ...options, bootOrder: order };
}

function optionsOf(source: readonly AnyOptionValue[]): AnyOptionValue[] {
  const kept = source.filter(
    ({ key }) => keptOptions.test(key) || !droppedOptions.some((dropped) => dropped.test(key)),
  );
  // Without this answer the first power-on asks whether the VM was copied or moved, and waits.
  const answer = { _type: 'OptionValue', key: 'uuid.action', value: 'keep' } as const;
  return [...kept.filter(({ key }) => key !== 'uuid.action'), answer];
}
