/**
 * What a shadow VM looks like: small, booted from the agent ISO, with the destination disks on SCSI. The
 * CD-ROMs and the state disk sit on SATA, so that all 60 SCSI places stay free. Pure.
 */
import { limits } from '../../core/index.ts';
import type { AnyVirtualDeviceConfigSpec, VirtualMachineConfigSpec } from '../../vsphere/index.ts';
import { addDevice, networkBacking, type NetworkPlug } from './device-changes.ts';

export interface ShadowVmWish {
  readonly name: string;
  /** `[datastore] folder` */
  readonly folder: string;
  readonly agentIsoPath: string;
  readonly configurationIsoPath: string;
  readonly network: NetworkPlug;
  /** Destination disks in their order. */
  readonly disks: readonly { readonly path: string; readonly capacityBytes: bigint }[];
}

const disksPerAdapter = 15;
/** Unit 7 of a SCSI adapter is the adapter itself. */
const adapterUnit = 7;
const sataKey = -100;
const scsiKey = -200;

export function shadowVmSpec(wish: ShadowVmWish): VirtualMachineConfigSpec & { name: string } {
  return {
    name: wish.name,
    annotation: 'Receives the disks of a migration. Made and removed by Landfall; leave it alone.',
    guestId: 'otherLinux64Guest',
    version: 'vmx-13',
    files: { vmPathName: `${wish.folder}/${wish.name}.vmx` },
    numCPUs: limits.shadowVmCpus,
    memoryMB: BigInt(limits.shadowVmMemoryMb),
    // The agent finds its disks by the UUID that this option shows to the guest.
    extraConfig: [{ _type: 'OptionValue', key: 'disk.EnableUUID', value: 'TRUE' }],
    deviceChange: [
      addDevice({ _type: 'VirtualAHCIController', key: sataKey, busNumber: 0 }),
      cdrom(0, wish.agentIsoPath),
      cdrom(1, wish.configurationIsoPath),
      stateDisk(`${wish.folder}/state.vmdk`),
      ...adapters(wish.disks.length),
      ...wish.disks.map((disk, index) => targetDisk(disk, index)),
      networkCard(wish.network),
    ],
  };
}

function cdrom(unitNumber: number, fileName: string): AnyVirtualDeviceConfigSpec {
  return addDevice({
    _type: 'VirtualCdrom',
    key: sataKey - 1 - unitNumber,
    controllerKey: sataKey,
    unitNumber,
    backing: { _type: 'VirtualCdromIsoBackingInfo', fileName },
    connectable: { startConnected: true, connected: true, allowGuestControl: false },
  });
}

function stateDisk(fileName: string): AnyVirtualDeviceConfigSpec {
  const capacityInBytes = BigInt(limits.stateDiskBytes);
  return addDevice(
    {
      _type: 'VirtualDisk',
      key: sataKey - 10,
      controllerKey: sataKey,
      unitNumber: 2,
      capacityInKB: capacityInBytes / 1024n,
      capacityInBytes,
      backing: {
        _type: 'VirtualDiskFlatVer2BackingInfo',
        fileName,
        diskMode: 'persistent',
        thinProvisioned: true,
      },
    },
    { create: true },
  );
}

function adapters(diskCount: number): AnyVirtualDeviceConfigSpec[] {
  const count = Math.ceil(diskCount / disksPerAdapter);
  return Array.from({ length: count }, (_, busNumber) =>
    addDevice({ _type: 'ParaVirtualSCSIController', key: scsiKey - busNumber, busNumber, sharedBus: 'noSharing' }),
  );
}

function targetDisk(disk: ShadowVmWish['disks'][number], index: number): AnyVirtualDeviceConfigSpec {
  const place = index % disksPerAdapter;
  return addDevice({
    _type: 'VirtualDisk',
    key: -1000 - index,
    controllerKey: scsiKey - Math.floor(index / disksPerAdapter),
    unitNumber: place < adapterUnit ? place : place + 1,
    capacityInKB: disk.capacityBytes / 1024n,
    capacityInBytes: disk.capacityBytes,
    backing: {
      _type: 'VirtualDiskFlatVer2BackingInfo',
      fileName: disk.path,
      diskMode: 'independent_persistent',
    },
  });
}

function networkCard(network: NetworkPlug): AnyVirtualDeviceConfigSpec {
  return addDevice({
    _type: 'VirtualVmxnet3',
    key: -300,
    backing: networkBacking(network),
    addressType: 'generated',
    connectable: { startConnected: true, connected: true, allowGuestControl: true },
  });
}
