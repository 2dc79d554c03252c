/**
 * The destination disks: empty, thin, in the folder that the final VM will have, so that they are never
 * moved. A folder or disk that is not ours is never touched: names are claimed in the records first.
 */
import { MigrationError } from '../../core/index.ts';
import {
  claimObject,
  isClaimedByOther,
  listOwnedObjects,
  nameObject,
  releaseByName,
  releaseObject,
  setDestinationDisk,
  setFacts,
} from '../../db/index.ts';
import {
  datastorePath,
  deleteDisk,
  deleteFile,
  ensureDisk,
  isFault,
  queryDiskUuid,
  readDatastore,
  searchFiles,
} from '../../vsphere/index.ts';
import { callOptions } from '../call-options.ts';
import { finalFolder, readDestination, readPlan, type DestinationPlaces, type Plan } from '../plan.ts';
import type { Services } from '../services.ts';

const namesMax = 100;

export async function createTargetDisks(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const places = await readDestination(services, plan);
  await requireSpace(plan, places);
  const name = plan.details.finalVmName ?? (await makeFolder(services, plan, places));
  const { prisma } = services.database;
  await setFacts(prisma, vmMigrationId, { finalVmName: name });
  for (const disk of plan.disks) {
    const file = disk.position === 0 ? `${name}.vmdk` : `${name}_${disk.position}.vmdk`;
    const path = datastorePath(places.datastore.name, name, file);
    await claimObject(prisma, { siteId: plan.destination.siteId, vmMigrationId, kind: 'disk', name: path });
    await ensureDisk(places.session, places.datacenter, path, disk.capacityBytes, callOptions());
    const destinationUuid = await queryDiskUuid(places.session, places.datacenter, path);
    await setDestinationDisk(prisma, disk.id, { destinationPath: path, destinationUuid });
  }
}

/** Removes the disks that we made, then the folder if nothing else is in it. */
export async function deleteTargetDisks(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  if (plan.details.handedOverAt !== null) {
    throw new MigrationError('DISK_SEALED', 'The disks belong to the VM at the destination; they are not deleted');
  }
  const places = await readDestination(services, plan);
  const { prisma } = services.database;
  for (const disk of await listOwnedObjects(prisma, { vmMigrationId, kind: 'disk' })) {
    await deleteDisk(places.session, places.datacenter, disk.name, callOptions());
    await releaseObject(prisma, disk.id);
  }
  for (const folder of await listOwnedObjects(prisma, { vmMigrationId, kind: 'folder' })) {
    if (folder.name === places.shadowFolder) continue;
    if (await isEmpty(places, folder.name)) await deleteFile(places.session, places, folder.name, callOptions());
    await releaseObject(prisma, folder.id);
  }
}

/** After the hand-over the disks belong to the user's VM; nothing of ours may ever delete them. */
export async function giveAwayTargetDisks(services: Services, plan: Plan, places: DestinationPlaces): Promise<void> {
  const { prisma } = services.database;
  const owner = { siteId: plan.destination.siteId, vmMigrationId: plan.details.id };
  for (const disk of plan.disks) {
    if (disk.destinationPath !== null)
      await releaseByName(prisma, { ...owner, kind: 'disk', name: disk.destinationPath });
  }
  await releaseByName(prisma, { ...owner, kind: 'folder', name: finalFolder(plan, places).folder });
}

/** Claims a name, then makes the folder. A claim that a crash left behind is taken up again if nothing foreign is there. */
async function makeFolder(services: Services, plan: Plan, places: DestinationPlaces): Promise<string> {
  const { prisma } = services.database;
  for (let attempt = 0; attempt < namesMax; attempt += 1) {
    const name = attempt === 0 ? plan.details.vmName : `${plan.details.vmName}_${attempt}`;
    const path = datastorePath(places.datastore.name, name);
    if (await isVmNameTaken(places, name)) continue;
    const owner = { siteId: plan.destination.siteId, vmMigrationId: plan.details.id };
    // An empty folder that another migration still has to remove: what we put there would go with it.
    if (await isClaimedByOther(prisma, { ...owner, kind: 'folder', name: path })) continue;
    const claim = await claimObject(prisma, { ...owner, kind: 'folder', name: path });
    if (claim.moref === null && !(await tryMakeFolder(places, path)) && !(await isEmpty(places, path))) {
      await releaseObject(prisma, claim.id);
      continue;
    }
    await nameObject(prisma, claim.id, 'made');
    return name;
  }
  throw new MigrationError('VSPHERE_FILE_EXISTS', `No free name like "${plan.details.vmName}" at the destination`);
}

async function tryMakeFolder({ session, datacenter }: DestinationPlaces, path: string): Promise<boolean> {
  try {
    const args = { name: path, datacenter, createParentDirectories: false };
    await session.call(session.manager('fileManager'), 'MakeDirectory', args);
    return true;
  } catch (error) {
    if (isFault(error, 'FileAlreadyExists')) return false;
    throw error;
  }
}

async function isVmNameTaken({ session, datacenterPlace }: DestinationPlaces, name: string): Promise<boolean> {
  const args = { entity: datacenterPlace.vmFolder, name };
  return (await session.call(session.manager('searchIndex'), 'FindChild', args)) !== undefined;
}

async function isEmpty(places: DestinationPlaces, folder: string): Promise<boolean> {
  return (await searchFiles(places.session, places.datastore.browser, folder)).length === 0;
}

async function requireSpace(plan: Plan, places: DestinationPlaces): Promise<void> {
  const { freeBytes, name } = await readDatastore(places.session, places.datastore.ref);
  const needed = plan.disks.reduce((sum, disk) => sum + (disk.destinationUuid === null ? disk.capacityBytes : 0n), 0n);
  if (needed <= freeBytes) return;
  throw new MigrationError('DATASTORE_FULL', `Datastore "${name}" has ${freeBytes} bytes free; ${needed} are needed`);
}
