/**
 * Attaches existing disks to virtual machines and detaches them with their files kept. Every function may be
 * repeated. It must never delete a disk.
 */
import { MigrationError } from '../core/index.ts';
import { readObject } from './properties.ts';
import type { VsphereSession } from './session.ts';
import type { TaskOptions } from './tasks.ts';
import { reconfigureVm, type VmRef } from './virtual-machines.ts';
import { disksOf, type VmDisk } from './vm-devices.ts';

export interface DiskToAttach {
  /** `[datastore] folder/disk.vmdk` */
  readonly path: string;
  readonly capacityBytes: bigint;
  readonly controllerKey: number;
  /** Never 7 on a SCSI controller: that is the controller itself. */
  readonly unitNumber: number;
  /** `independent_persistent` keeps snapshots of the VM away from the disk. */
  readonly mode: 'persistent' | 'independent_persistent';
}

export async function readDisks(session: VsphereSession, vm: VmRef): Promise<VmDisk[]> {
  const { values } = await readObject(session, vm, ['config.hardware.device']);
  return disksOf(values['config.hardware.device'] ?? []);
}

/**
 * Attaches disks that are not attached yet, in one reconfiguration; gives all disks of the VM afterwards.
 * FileLocked means that another powered-on VM holds one: retryable.
 */
export async function attachDisks(
  session: VsphereSession,
  vm: VmRef,
  wanted: readonly DiskToAttach[],
  options?: TaskOptions,
): Promise<VmDisk[]> {
  const present = new Set((await readDisks(session, vm)).map(({ path }) => path));
  const missing = wanted.filter(({ path }) => !present.has(path));
  if (missing.length > 0) {
    const deviceChange = missing.map((disk, index) => ({
      _type: 'VirtualDeviceConfigSpec' as const,
      operation: 'add' as const,
      device: {
        _type: 'VirtualDisk' as const,
        key: -1 - index,
        backing: {
          _type: 'VirtualDiskFlatVer2BackingInfo' as const,
          fileName: disk.path,
          diskMode: disk.mode,
        },
        controllerKey: disk.controllerKey,
        unitNumber: disk.unitNumber,
        capacityInKB: disk.capacityBytes / 1024n,
        capacityInBytes: disk.capacityBytes,
      },
    }));
    await reconfigureVm(session, vm, { deviceChange }, options);
  }
  return readDisks(session, vm);
}

/**
 * Detaches the disks with these paths and keeps their files; those that are not attached are ignored. Looks again
 * afterwards and fails with FOREIGN_DISK_ATTACHED if one is still there.
 */
export async function detachDisks(
  session: VsphereSession,
  vm: VmRef,
  paths: readonly string[],
  options?: TaskOptions,
): Promise<void> {
  const attached = (await readDisks(session, vm)).filter(({ path }) => paths.includes(path));
  if (attached.length === 0) return;
  const deviceChange = attached.map((disk) => ({
    _type: 'VirtualDeviceConfigSpec' as const,
    operation: 'remove' as const,
    device: { _type: 'VirtualDisk' as const, key: disk.key, capacityInKB: disk.capacityBytes / 1024n },
  }));
  await reconfigureVm(session, vm, { deviceChange }, options);
  const left = (await readDisks(session, vm)).find(({ path }) => paths.includes(path));
  if (left) throw new MigrationError('FOREIGN_DISK_ATTACHED', `VM ${vm.value} still has the disk ${left.path}`);
}
