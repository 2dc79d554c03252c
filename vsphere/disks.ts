/**
 * Virtual disks as files of a datastore, apart from any VM. Every function may be repeated.
 */
import { isFault } from './faults.ts';
import type { MoRef } from './schema.ts';
import type { VsphereSession } from './session.ts';
import { runTask, type TaskOptions } from './tasks.ts';
import { normalUuid } from './vm-devices.ts';

type Datacenter = MoRef<'Datacenter'>;

/**
 * Makes an empty thin disk; one that is there already is kept as it is, so paths must be the caller's own.
 * VSPHERE_NO_SPACE when the datastore is full.
 */
export async function ensureDisk(
  session: VsphereSession,
  datacenter: Datacenter,
  path: string,
  capacityBytes: bigint,
  options?: TaskOptions,
): Promise<void> {
  const spec = {
    _type: 'FileBackedVirtualDiskSpec',
    diskType: 'thin',
    adapterType: 'lsiLogic',
    capacityKb: capacityBytes / 1024n,
  } as const;
  try {
    const args = { name: path, datacenter, spec };
    await runTask(session, session.manager('virtualDiskManager'), 'CreateVirtualDisk_Task', args, options);
  } catch (error) {
    if (!isFault(error, 'FileAlreadyExists')) throw error;
  }
}

/** Deletes a disk with its data; nothing to do when it is gone. */
export async function deleteDisk(
  session: VsphereSession,
  datacenter: Datacenter,
  path: string,
  options?: TaskOptions,
): Promise<void> {
  try {
    const args = { name: path, datacenter };
    await runTask(session, session.manager('virtualDiskManager'), 'DeleteVirtualDisk_Task', args, options);
  } catch (error) {
    if (!isFault(error, 'FileNotFound')) throw error;
  }
}

/** Renames a disk within its datacenter, never over another one; nothing to do when only the new path exists. */
export async function moveDisk(
  session: VsphereSession,
  datacenter: Datacenter,
  from: string,
  to: string,
  options?: TaskOptions,
): Promise<void> {
  const places = { sourceDatacenter: datacenter, destDatacenter: datacenter };
  try {
    const args = { sourceName: from, destName: to, ...places, force: false };
    await runTask(session, session.manager('virtualDiskManager'), 'MoveVirtualDisk_Task', args, options);
  } catch (error) {
    const done =
      isFault(error, 'FileNotFound', 'FileAlreadyExists') &&
      !(await diskExists(session, datacenter, from)) &&
      (await diskExists(session, datacenter, to));
    if (!done) throw error;
  }
}

/** Whether there is a disk at this path. */
export async function diskExists(session: VsphereSession, datacenter: Datacenter, path: string): Promise<boolean> {
  try {
    await queryDiskUuid(session, datacenter, path);
    return true;
  } catch (error) {
    if (isFault(error, 'FileNotFound')) return false;
    throw error;
  }
}

/** The disk's UUID, lower case with dashes. */
export async function queryDiskUuid(session: VsphereSession, datacenter: Datacenter, path: string): Promise<string> {
  const args = { name: path, datacenter };
  return normalUuid(await session.call(session.manager('virtualDiskManager'), 'QueryVirtualDiskUuid', args));
}

/** Gives the disk a UUID; it must not be attached to a powered-on VM. */
export async function setDiskUuid(
  session: VsphereSession,
  datacenter: Datacenter,
  path: string,
  uuid: string,
): Promise<void> {
  const args = { name: path, datacenter, uuid: spacedUuid(uuid) };
  await session.call(session.manager('virtualDiskManager'), 'SetVirtualDiskUuid', args);
}

/** The form of descriptors: `60 00 C2 9a ...-...`, hex pairs with a dash in the middle. */
function spacedUuid(uuid: string): string {
  const pairs = uuid.replaceAll('-', '').match(/../g) ?? [];
  return `${pairs.slice(0, 8).join(' ')}-${pairs.slice(8).join(' ')}`;
}
