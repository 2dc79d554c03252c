/**
 * The devices of the final VM: the same controllers, places, cards and addresses as at the source, with the
 * replicated disks in theirs. Media that lie at the source (ISO images, floppies, serial files) stay there.
 */
import type { AnyVirtualDevice, AnyVirtualDeviceConfigSpec } from '../../vsphere/index.ts';
import { addDevice, networkBacking, type NetworkPlug } from './device-changes.ts';

export interface FinalDisk {
  readonly deviceKey: number;
  readonly path: string;
  readonly capacityBytes: bigint;
}

interface DeviceWish {
  readonly disks: readonly FinalDisk[];
  readonly networkFor: (source: { name: string | undefined; portgroupKey: string | undefined }) => NetworkPlug;
}

export interface FinalDevices {
  readonly changes: AnyVirtualDeviceConfigSpec[];
  /** Key in the specification by the source's key, of the devices that go along. */
  readonly newKeys: ReadonlyMap<number, number>;
}

/** Every VM is born with these; their keys are fixed. */
const inborn = new Set([
  'VirtualIDEController',
  'VirtualPCIController',
  'VirtualPS2Controller',
  'VirtualSIOController',
]);

const controllers = new Set([
  'ParaVirtualSCSIController',
  'VirtualAHCIController',
  'VirtualBusLogicController',
  'VirtualLsiLogicController',
  'VirtualLsiLogicSASController',
  'VirtualNVMEController',
  'VirtualUSBController',
  'VirtualUSBXHCIController',
]);

export function finalDevices(source: readonly AnyVirtualDevice[], wish: DeviceWish): FinalDevices {
  const newKeys = chooseKeys(source);
  const ordered = [...source].sort((a, b) => rank(a) - rank(b));
  const changes = ordered.flatMap((device) => {
    const copy = copyOf(device, newKeys, wish);
    if (copy === null) newKeys.delete(device.key);
    return copy === null ? [] : [addDevice(copy)];
  });
  return { changes, newKeys };
}

/** Controllers come before what hangs on them. */
function rank(device: AnyVirtualDevice): number {
  return controllers.has(device._type) ? 0 : 1;
}

/** New devices have negative keys in a specification; inborn ones keep theirs. */
function chooseKeys(source: readonly AnyVirtualDevice[]): Map<number, number> {
  return new Map(source.map((device) => [device.key, inborn.has(device._type) ? device.key : -device.key]));
}

function copyOf(
  device: AnyVirtualDevice,
  newKeys: ReadonlyMap<number, number>,
  wish: DeviceWish,
): AnyVirtualDevice | null {
  const place = {
    key: newKeys.get(device.key) ?? -device.key,
    unitNumber: device.unitNumber,
    ...(device.controllerKey === undefined
      ? {}
      : { controllerKey: newKeys.get(device.controllerKey) ?? device.controllerKey }),
  };
  if (device._type === 'VirtualDisk') return diskCopy(device, place, wish.disks);
  if (device._type === 'VirtualCdrom') return cdromCopy(place);
  if (isCard(device)) return cardCopy(device, place.key, wish);
  if (controllers.has(device._type)) {
    // The unit number is the adapter's own place on the PCI bus, which the slot number already says.
    const {
      device: _attached,
      unitNumber: _unit,
      controllerKey: _parent,
      ...kept
    } = device as AnyVirtualDevice & {
      device?: number[];
    };
    return { ...kept, key: place.key, deviceInfo: undefined };
  }
  return null;
}

function diskCopy(
  device: Extract<AnyVirtualDevice, { _type: 'VirtualDisk' }>,
  place: Pick<AnyVirtualDevice, 'key' | 'controllerKey' | 'unitNumber'>,
  disks: readonly FinalDisk[],
): AnyVirtualDevice | null {
  const replicated = disks.find((disk) => disk.deviceKey === device.key);
  if (replicated === undefined) return null;
  const mode = (device.backing as { diskMode?: string } | undefined)?.diskMode ?? 'persistent';
  return {
    _type: 'VirtualDisk',
    ...place,
    capacityInKB: replicated.capacityBytes / 1024n,
    capacityInBytes: replicated.capacityBytes,
    shares: device.shares,
    storageIOAllocation: device.storageIOAllocation,
    backing: { _type: 'VirtualDiskFlatVer2BackingInfo', fileName: replicated.path, diskMode: mode },
  };
}

/** The drive stays, its medium does not: it lies on a datastore of the source. */
function cdromCopy(place: Pick<AnyVirtualDevice, 'key' | 'controllerKey' | 'unitNumber'>): AnyVirtualDevice {
  return {
    _type: 'VirtualCdrom',
    ...place,
    backing: { _type: 'VirtualCdromRemotePassthroughBackingInfo', deviceName: '', exclusive: false },
    connectable: { startConnected: false, connected: false, allowGuestControl: true },
  };
}

type Card = Extract<AnyVirtualDevice, { _type: 'VirtualVmxnet3' }>;

function isCard(device: AnyVirtualDevice): device is Card {
  return 'macAddress' in device || 'addressType' in device;
}

/** The MAC address is the guest's identity on its network: it is given by hand, so that no generator changes it. */
function cardCopy(card: Card, key: number, wish: DeviceWish): AnyVirtualDevice {
  const { backing } = card;
  const name = backing?._type === 'VirtualEthernetCardNetworkBackingInfo' ? backing.deviceName : undefined;
  const portgroupKey =
    backing?._type === 'VirtualEthernetCardDistributedVirtualPortBackingInfo' ? backing.port.portgroupKey : undefined;
  return {
    _type: card._type,
    key,
    backing: networkBacking(wish.networkFor({ name, portgroupKey })),
    addressType: 'manual',
    macAddress: card.macAddress,
    wakeOnLanEnabled: card.wakeOnLanEnabled,
    resourceAllocation: card.resourceAllocation,
    uptCompatibilityEnabled: card.uptCompatibilityEnabled,
    slotInfo: card.slotInfo,
    connectable: {
      startConnected: card.connectable?.startConnected ?? true,
      connected: card.connectable?.startConnected ?? true,
      allowGuestControl: card.connectable?.allowGuestControl ?? true,
    },
  };
}
