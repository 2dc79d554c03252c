/**
 * A virtual machine's device list in our words. Pure: reads what a server sent, makes nothing of it.
 */
import { parseDatastorePath } from './paths.ts';
import type { MoRef, Typed } from './schema.ts';
import type { AnyVirtualDevice, VirtualDisk } from './types.gen.ts';

export interface VmDisk {
  /** Device key: identifies the disk within its VM only. */
  readonly key: number;
  readonly label: string;
  /** Backing UUID, lower case with dashes: the disk's identity. Empty where the server gives none. */
  readonly uuid: string;
  /** `[datastore] folder/disk.vmdk` */
  readonly path: string;
  readonly datastore: MoRef<'Datastore'> | undefined;
  readonly capacityBytes: bigint;
  readonly thin: boolean;
  readonly backing: 'flat' | 'sesparse' | 'rdm-physical' | 'rdm-virtual' | 'other';
  /** `persistent`, `independent_persistent`, ... */
  readonly mode: string;
  /** Shared by several writers, by itself or by its controller's bus. */
  readonly shared: boolean;
  /** A delta of a snapshot. */
  readonly hasParent: boolean;
  readonly controllerKey: number;
  /** Type of the controller, for example `ParaVirtualSCSIController`. */
  readonly controllerType: string;
  readonly controllerBusNumber: number;
  readonly unitNumber: number;
  /** Ids of IO filters on the disk. */
  readonly filters: readonly string[];
}

export interface VmNic {
  readonly key: number;
  readonly label: string;
  /** For example `VirtualVmxnet3`. */
  readonly type: string;
  readonly macAddress: string;
  /** `assigned`, `generated` or `manual`. */
  readonly addressType: string;
  /** Name of a standard network; undefined for port groups of a distributed switch. */
  readonly networkName: string | undefined;
  readonly network: MoRef | undefined;
  readonly portgroupKey: string | undefined;
  readonly connected: boolean;
  readonly startConnected: boolean;
}

export function disksOf(devices: readonly AnyVirtualDevice[]): VmDisk[] {
  const byKey = new Map(devices.map((device) => [device.key, device]));
  return devices.flatMap((device) => {
    if (device._type !== 'VirtualDisk') return [];
    const controller = byKey.get(device.controllerKey ?? 0);
    const backing = backingOf(device);
    const busShared = controller && 'sharedBus' in controller && controller.sharedBus !== 'noSharing';
    return [
      {
        key: device.key,
        label: device.deviceInfo?.label ?? `disk ${device.key}`,
        uuid: normalUuid(backing.uuid ?? ''),
        path: backing.fileName ?? '',
        datastore: backing.datastore,
        capacityBytes: device.capacityInBytes ?? device.capacityInKB * 1024n,
        thin: backing.thinProvisioned === true,
        backing: backingKind(device),
        mode: backing.diskMode ?? '',
        shared: backing.sharing === 'sharingMultiWriter' || busShared === true,
        hasParent: backing.parent !== undefined || /-\d{6}\.vmdk$/.test(backing.fileName ?? ''),
        controllerKey: device.controllerKey ?? 0,
        controllerType: controller?._type ?? '',
        controllerBusNumber: controller && 'busNumber' in controller ? controller.busNumber : 0,
        unitNumber: device.unitNumber ?? 0,
        filters: device.iofilter ?? [],
      },
    ];
  });
}

export function nicsOf(devices: readonly AnyVirtualDevice[]): VmNic[] {
  return devices.flatMap((device) => {
    if (!('macAddress' in device) && !('addressType' in device)) return [];
    const nic = device as AnyVirtualDevice & { macAddress?: string; addressType?: string };
    const backing = nic.backing;
    const standard = backing?._type === 'VirtualEthernetCardNetworkBackingInfo' ? backing : undefined;
    const distributed =
      backing?._type === 'VirtualEthernetCardDistributedVirtualPortBackingInfo' ? backing.port : undefined;
    return [
      {
        key: nic.key,
        label: nic.deviceInfo?.label ?? `network card ${nic.key}`,
        type: nic._type,
        macAddress: (nic.macAddress ?? '').toLowerCase(),
        addressType: nic.addressType ?? '',
        networkName: standard?.deviceName,
        network: standard?.network,
        portgroupKey: distributed?.portgroupKey,
        connected: nic.connectable?.connected ?? false,
        startConnected: nic.connectable?.startConnected ?? false,
      },
    ];
  });
}

/** vSphere writes disk UUIDs as `6000C29a-...` or as spaced hex pairs; we always use lower case with dashes. */
export function normalUuid(text: string): string {
  const hex = text.replace(/[^0-9a-f]/gi, '').toLowerCase();
  const parts = /^(.{8})(.{4})(.{4})(.{4})(.{12})$/.exec(hex);
  return parts ? parts.slice(1).join('-') : hex;
}

/** Whether a disk lies in this folder of a datastore (`[datastore] folder`). */
export function isInFolder(path: string, folder: string): boolean {
  const file = parseDatastorePath(path);
  const place = parseDatastorePath(folder);
  return file.datastore === place.datastore && file.path.startsWith(`${place.path}/`);
}

interface DiskBacking {
  readonly uuid?: string | undefined;
  readonly fileName?: string | undefined;
  readonly datastore?: MoRef<'Datastore'> | undefined;
  readonly thinProvisioned?: boolean | undefined;
  readonly diskMode?: string | undefined;
  readonly sharing?: string | undefined;
  readonly parent?: unknown;
}

/** The members that matter, whatever the kind of backing. */
function backingOf(disk: Typed<'VirtualDisk', VirtualDisk>): DiskBacking {
  return (disk.backing ?? {}) as DiskBacking;
}

function backingKind(disk: Typed<'VirtualDisk', VirtualDisk>): VmDisk['backing'] {
  switch (disk.backing?._type) {
    case 'VirtualDiskFlatVer2BackingInfo':
      return 'flat';
    case 'VirtualDiskSeSparseBackingInfo':
      return 'sesparse';
    case 'VirtualDiskRawDiskMappingVer1BackingInfo':
      return disk.backing.compatibilityMode === 'virtualMode' ? 'rdm-virtual' : 'rdm-physical';
    default:
      return 'other';
  }
}
