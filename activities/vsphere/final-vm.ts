/** The VM at the destination: its disks taken from the shadow VM, built as a replica, powered on. */
import { MigrationError, hasCode } from '../../core/index.ts';
import { claimObject, releaseByName, setFacts } from '../../db/index.ts';
import {
  detachDisks,
  ensureVm,
  fileNameOf,
  fileSize,
  folderOf,
  findOwnedVm,
  powerOnVm,
  queryDiskUuid,
  readDisks,
  readFile,
  readVmConfig,
  setDiskUuid,
  uploadFile,
  waitForAddress,
  waitForTools,
  type MoRef,
} from '../../vsphere/index.ts';
import { callOptions } from '../call-options.ts';
import {
  finalFolder,
  mappedNetwork,
  pairedDisks,
  readDestination,
  readPlan,
  type DestinationPlaces,
  type Plan,
} from '../plan.ts';
import type { Services } from '../services.ts';
import type { NetworkPlug } from '../specifications/device-changes.ts';
import { finalVmSpec } from '../specifications/final-vm.ts';
import { giveAwayTargetDisks } from './target-disks.ts';

/** Detaches without deleting, then looks twice: nothing of ours on the VM, every file still on the datastore. */
export async function detachTargetDisks(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const places = await readDestination(services, plan);
  const { session } = places;
  const kept = pairedDisks(plan).map((disk) => disk.destinationPath);
  const vm = await findOwnedVm(session, places.datacenterPlace.vmFolder, plan.names.vm, plan.names.owner);
  if (vm !== undefined) {
    await detachDisks(session, vm, kept, callOptions());
    const left = (await readDisks(session, vm)).find(({ path }) => kept.includes(path));
    if (left !== undefined) throw new MigrationError('FOREIGN_DISK_ATTACHED', `${left.path} is still attached`);
  }
  for (const path of kept) await queryDiskUuid(session, places.datacenter, path);
}

export async function createFinalVm(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const places = await readDestination(services, plan);
  const { session } = places;
  const { prisma } = services.database;
  const { name, folder } = finalFolder(plan, places);
  if (plan.details.finalVmMoref === null) {
    await claimObject(prisma, finalVmRow(plan, name));
    await takeOverUuids(places, plan);
    const source = await readVmConfig(await services.session(plan.details.sourceSiteId), plan.sourceVm);
    const networkFor = await networkMapper(services, plan, places);
    const disks = pairedDisks(plan).map(({ deviceKey, destinationPath: path, capacityBytes }) => ({
      deviceKey,
      path,
      capacityBytes,
    }));
    const config = finalVmSpec(source, { name, folder, disks, networkFor });
    const wish = { folder: places.datacenterPlace.vmFolder, pool: places.cluster.resourcePool, config };
    const vm = await ensureVm(session, { ...wish, owner: `${vmMigrationId}/final` }, callOptions());
    await setFacts(prisma, vmMigrationId, { finalVmMoref: vm.value });
  }
  await giveAwayTargetDisks(services, plan, places);
  await releaseByName(prisma, finalVmRow(plan, name));
}

/** Guests and backup products know a disk by its UUID. Repeating sets the same again. */
async function takeOverUuids({ session, datacenter }: DestinationPlaces, plan: Plan): Promise<void> {
  for (const { destinationPath, sourceUuid } of pairedDisks(plan)) {
    if ((await queryDiskUuid(session, datacenter, destinationPath)) === sourceUuid) continue;
    await setDiskUuid(session, datacenter, destinationPath, sourceUuid);
  }
}

/** EFI variables, boot entries and the like live in this small file. BIOS guests often have an empty one. */
export async function copyNvram(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  // It is the running guest's by now.
  if (plan.details.poweredOnAt !== null) return;
  const places = await readDestination(services, plan);
  const { sourceSiteId } = plan.details;
  const [session, inventory] = await Promise.all([services.session(sourceSiteId), services.inventory(sourceSiteId)]);
  const config = await readVmConfig(session, plan.sourceVm);
  const file = config.extraConfig?.find(({ key }) => key === 'nvram')?.value;
  const { vmPathName } = config.files;
  const store = inventory.datastores.find(({ name }) => vmPathName?.startsWith(`[${name}] `) === true);
  const datacenter = inventory.datacenters.find(({ ref }) => ref.value === store?.datacenter.value);
  if (typeof file !== 'string' || vmPathName === undefined || datacenter === undefined) return;
  const from = { datacenter: datacenter.ref, datacenterPath: datacenter.inventoryPath };
  const path = `${folderOf(vmPathName)}/${fileNameOf(`[x] ${file}`)}`;
  const size = await fileSize(session, from, path);
  if (size === undefined || size === 0) return;
  const { name, folder } = finalFolder(plan, places);
  const content = await readFile(session, from, path);
  await uploadFile(places.session, places, `${folder}/${name}.nvram`, content, content.length, callOptions());
}

export async function powerOnFinalVm(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  // Its owner may have switched it off since.
  if (plan.details.poweredOnAt !== null) return;
  const session = await services.session(plan.destination.siteId);
  await powerOnVm(session, finalVmOf(plan), callOptions());
  await setFacts(services.database.prisma, vmMigrationId, { poweredOnAt: new Date() });
}

export async function waitForFinalGuest(
  services: Services,
  vmMigrationId: string,
  timeoutSeconds: number,
  until: 'tools' | 'address' = 'tools',
): Promise<boolean> {
  const plan = await readPlan(services, vmMigrationId);
  const session = await services.session(plan.destination.siteId);
  const wait = { timeoutMs: timeoutSeconds * 1000, ...callOptions() };
  try {
    await waitForTools(session, finalVmOf(plan), wait);
    if (until === 'address') await waitForAddress(session, finalVmOf(plan), wait);
  } catch (error) {
    if (hasCode(error, 'VSPHERE_TIMEOUT')) return false;
    throw error;
  }
  await setFacts(services.database.prisma, vmMigrationId, { guestReadyAt: plan.details.guestReadyAt ?? new Date() });
  return true;
}

export function finalVmOf({ details }: Plan): MoRef<'VirtualMachine'> {
  if (details.finalVmMoref === null) throw new MigrationError('INTERNAL', 'The final VM was not made yet');
  return { type: 'VirtualMachine', value: details.finalVmMoref };
}

async function networkMapper(services: Services, plan: Plan, places: DestinationPlaces) {
  const { networks } = await services.inventory(plan.details.sourceSiteId);
  return (source: { name: string | undefined; portgroupKey: string | undefined }): NetworkPlug => {
    const byKey = networks.find(({ portgroupKey }) => portgroupKey && portgroupKey === source.portgroupKey);
    return mappedNetwork(plan, places, source.name ?? byKey?.name ?? '');
  };
}

function finalVmRow(plan: Plan, name: string) {
  return { siteId: plan.destination.siteId, vmMigrationId: plan.details.id, kind: 'vm', name } as const;
}
