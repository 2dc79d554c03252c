/** The shadow VM: built, powered on, found by its address, and removed without ever deleting a kept disk. */
import { claimObject, nameObject, releaseByName, setFacts } from '../../db/index.ts';
import { MigrationError } from '../../core/index.ts';
import {
  destroyVm,
  detachDisks,
  ensureVm,
  findOwnedVm,
  isInFolder,
  powerOnVm,
  readVm,
  waitForAddress,
  type MoRef,
} from '../../vsphere/index.ts';
import { callOptions } from '../call-options.ts';
import { mappedNetwork, pairedDisks, readDestination, readPlan, type DestinationPlaces, type Plan } from '../plan.ts';
import type { Services } from '../services.ts';
import { shadowVmSpec } from '../specifications/shadow-vm.ts';
import { agentIsoPath } from './agent-iso.ts';
import { configurationIsoPath } from './configuration-iso.ts';
import { networkNamesOf } from './source-networks.ts';

export async function createShadowVm(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const places = await readDestination(services, plan);
  const { prisma } = services.database;
  const owned = { siteId: plan.destination.siteId, vmMigrationId, kind: 'vm', name: plan.names.vm } as const;
  const claim = await claimObject(prisma, owned);
  const config = shadowVmSpec({
    name: plan.names.vm,
    folder: places.shadowFolder,
    agentIsoPath: await agentIsoPath(services, places),
    configurationIsoPath: configurationIsoPath(places),
    network: await shadowNetwork(services, plan, places),
    disks: pairedDisks(plan).map(({ destinationPath: path, capacityBytes }) => ({ path, capacityBytes })),
  });
  const { vmFolder: folder } = places.datacenterPlace;
  const wish = { folder, pool: places.cluster.resourcePool, config, owner: plan.names.owner };
  const vm = await ensureVm(places.session, wish, callOptions());
  await nameObject(prisma, claim.id, vm.value);
  await setFacts(prisma, vmMigrationId, { shadowVmMoref: vm.value });
}

export async function powerOnShadowVm(services: Services, vmMigrationId: string): Promise<void> {
  const { plan, session } = await withShadowVm(services, vmMigrationId);
  await powerOnVm(session, shadowVmOf(plan), callOptions());
}

export async function waitForShadowVmAddress(
  services: Services,
  vmMigrationId: string,
  timeoutSeconds: number,
): Promise<void> {
  const { plan, session } = await withShadowVm(services, vmMigrationId);
  const wait = { timeoutMs: timeoutSeconds * 1000, ...callOptions() };
  try {
    const shadowVmAddress = await waitForAddress(session, shadowVmOf(plan), wait);
    await setFacts(services.database.prisma, vmMigrationId, { shadowVmAddress });
  } catch (error) {
    if (!(error instanceof MigrationError) || error.code !== 'VSPHERE_TIMEOUT') throw error;
    throw new MigrationError('SHADOW_VM_NO_ADDRESS', `${plan.names.vm} reported no address in time`);
  }
}

/**
 * Takes our disks off first and looks again, so that nothing but the state disk is left when the VM and its
 * files are destroyed. Finds the VM by its mark, also when a crash kept its moref from being recorded.
 */
export async function destroyShadowVm(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const places = await readDestination(services, plan);
  const { session } = places;
  const vm = await findOwnedVm(session, places.datacenterPlace.vmFolder, plan.names.vm, plan.names.owner);
  if (vm !== undefined) {
    const kept = plan.disks.flatMap((disk) => disk.destinationPath ?? []);
    await detachDisks(session, vm, kept, callOptions());
    await destroyVm(session, vm, (path) => isInFolder(path, places.shadowFolder), callOptions());
  }
  const owned = { siteId: plan.destination.siteId, vmMigrationId, kind: 'vm', name: plan.names.vm } as const;
  await releaseByName(services.database.prisma, owned);
}

export async function withShadowVm(services: Services, vmMigrationId: string) {
  const plan = await readPlan(services, vmMigrationId);
  return { plan, session: await services.session(plan.destination.siteId) };
}

export function shadowVmOf({ details }: Plan): MoRef<'VirtualMachine'> {
  if (details.shadowVmMoref === null) throw new MigrationError('INTERNAL', 'The shadow VM was not made yet');
  return { type: 'VirtualMachine', value: details.shadowVmMoref };
}

/** The shadow VM speaks on the network that the first card of the VM will have. */
async function shadowNetwork(services: Services, plan: Plan, places: DestinationPlaces) {
  const source = await services.session(plan.details.sourceSiteId);
  const names = await networkNamesOf(services, plan.details.sourceSiteId, await readVm(source, plan.sourceVm));
  const first = names[0] ?? plan.destination.networks[0]?.source ?? places.networks[0]?.name ?? '';
  return mappedNetwork(plan, places, first);
}
