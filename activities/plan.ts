/**
 * Everything that an activity about one VM's migration has to know, read anew each time: records, both
 * sites' sessions, places and names at the destination. It changes nothing.
 */
import { MigrationError, effectiveDials, type Destination, type Dials, type MigrationOptions } from '../core/index.ts';
import { destinationOf, getVmMigration, type Disk, type VmMigrationDetails } from '../db/index.ts';
import {
  datastorePath,
  type ClusterPlace,
  type DatacenterPlace,
  type DatastorePlace,
  type FilePlace,
  type MoRef,
  type NetworkPlace,
  type VsphereSession,
} from '../vsphere/index.ts';
import type { Services } from './services.ts';

export interface Plan {
  readonly details: VmMigrationDetails;
  readonly disks: readonly Disk[];
  readonly destination: Destination;
  readonly dials: Dials;
  readonly options: MigrationOptions;
  readonly sourceVm: MoRef<'VirtualMachine'>;
  readonly names: ShadowNames;
}

/** Names of what is ours at the destination, made of the id alone, so that a repeated step finds them again. */
export interface ShadowNames {
  readonly vm: string;
  readonly owner: string;
}

export interface DestinationPlaces extends FilePlace {
  readonly session: VsphereSession;
  readonly cluster: ClusterPlace;
  readonly datacenterPlace: DatacenterPlace;
  readonly datastore: DatastorePlace;
  readonly networks: readonly NetworkPlace[];
  /** `[datastore] folder` of the shadow VM. */
  readonly shadowFolder: string;
}

export async function readPlan(services: Services, vmMigrationId: string): Promise<Plan> {
  const details = await getVmMigration(services.database.prisma, vmMigrationId);
  return {
    details,
    disks: details.disks,
    destination: destinationOf(details, details.migration),
    dials: effectiveDials(details.settings as Dials | null, details.migration.settings as unknown as Dials),
    options: details.migration.options as unknown as MigrationOptions,
    sourceVm: { type: 'VirtualMachine', value: details.vmMoref },
    names: { vm: `landfall-shadow-${vmMigrationId.slice(-12)}`, owner: `${vmMigrationId}/shadow` },
  };
}

export async function readDestination(services: Services, plan: Plan): Promise<DestinationPlaces> {
  const { siteId, clusterMoref, datastoreMoref } = plan.destination;
  const [session, inventory] = await Promise.all([services.session(siteId), services.inventory(siteId)]);
  const cluster = inventory.clusters.find(({ ref }) => ref.value === clusterMoref);
  if (cluster === undefined) throw new MigrationError('VSPHERE_NOT_FOUND', `There is no cluster ${clusterMoref}`);
  const datastore = inventory.datastores.find(({ ref }) => ref.value === datastoreMoref);
  if (datastore === undefined) throw new MigrationError('DATASTORE_UNKNOWN', `There is no datastore ${datastoreMoref}`);
  const datacenterPlace = inventory.datacenters.find(({ ref }) => ref.value === cluster.datacenter.value);
  if (datacenterPlace === undefined) throw new MigrationError('VSPHERE_NOT_FOUND', 'The cluster has no datacenter');
  return {
    session,
    cluster,
    datacenterPlace,
    datastore,
    datacenter: datacenterPlace.ref,
    datacenterPath: datacenterPlace.inventoryPath,
    networks: inventory.networks.filter(({ datacenter }) => datacenter.value === cluster.datacenter.value),
    shadowFolder: datastorePath(datastore.name, plan.names.vm),
  };
}

/** The destination network of a source network: as mapped, else of the same name. */
export function mappedNetwork(plan: Plan, places: DestinationPlaces, sourceName: string): NetworkPlace {
  const mapping = plan.destination.networks.find(({ source }) => source === sourceName);
  const wanted = mapping?.destination ?? sourceName;
  const network = places.networks.find(({ name }) => name === wanted);
  if (network === undefined) throw new MigrationError('NETWORK_UNKNOWN', `There is no network "${wanted}"`);
  return network;
}

/** Where the final VM and its disks live; known after the target disks were made. */
export function finalFolder(plan: Plan, places: DestinationPlaces): { name: string; folder: string } {
  const name = plan.details.finalVmName;
  if (name === null) throw new MigrationError('INTERNAL', 'The destination folder was not made yet');
  return { name, folder: datastorePath(places.datastore.name, name) };
}

/** Disks with both ends known. */
export interface DiskPairRow extends Disk {
  readonly destinationPath: string;
  readonly destinationUuid: string;
}

export function pairedDisks(plan: Plan): readonly DiskPairRow[] {
  return plan.disks.map((disk) => {
    const { destinationPath, destinationUuid } = disk;
    if (destinationPath === null || destinationUuid === null) {
      throw new MigrationError('INTERNAL', `The destination of ${disk.label} was not made yet`);
    }
    return { ...disk, destinationPath, destinationUuid };
  });
}
