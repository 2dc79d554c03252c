// Checks the destination of a migration request: cluster, datastore, networks, versions, free space, no VM of the same
// identity. Reads only. Gives the complete mapping of networks.
import type { StartMigrationRequest } from '../../contracts/rest.ts';
import { MigrationError, type NetworkMapping } from '../../core/index.ts';
import { getSite } from '../../db/index.ts';
import {
  listVms,
  readDatastore,
  readInventory,
  type ClusterPlace,
  type DatastorePlace,
  type Inventory,
  type VsphereSession,
} from '../../vsphere/index.ts';
import type { Services } from '../services.ts';
import type { CheckedSource } from './check-sources.ts';
import { isOlder } from './versions.ts';

type Wanted = StartMigrationRequest['destination'];

/** What has to be known of a request to judge its destination. */
export type WantedDestination = Pick<StartMigrationRequest, 'destination'>;

export async function checkDestination(
  wanted: WantedDestination,
  sources: readonly CheckedSource[],
  services: Services,
  { checksSpace = true }: { readonly checksSpace?: boolean } = {},
): Promise<NetworkMapping[]> {
  const { destination } = wanted;
  const site = await getSite(services.database.prisma, destination.siteId);
  return services.sites.withSite(site.id, async (session) => {
    const places = await readInventory(session);
    const cluster = requireCluster(destination, places, site.name);
    checkVersions(session, cluster, places, sources);
    const networks = mapNetworks(destination, cluster, places, sources);
    const datastore = requireDatastore(destination, cluster, places);
    await checkIdentities(session, sources, site.name);
    if (checksSpace) await checkSpace(session, datastore, sources);
    return networks;
  });
}

function requireCluster(wanted: Wanted, places: Inventory, siteName: string): ClusterPlace {
  const cluster = places.clusters.find((item) => item.ref.value === wanted.clusterMoref);
  if (cluster !== undefined) return cluster;
  throw new MigrationError('VSPHERE_NOT_FOUND', `${siteName} has no cluster ${wanted.clusterMoref}.`, {
    remedy: `Choose a cluster, not a resource pool or folder: ${listed(places.clusters)}.`,
    details: { errors: [{ pointer: '/destination/clusterMoref', message: 'is not a cluster of this site' }] },
  });
}

function requireDatastore(wanted: Wanted, cluster: ClusterPlace, places: Inventory): DatastorePlace {
  const reachable = places.datastores.filter((item) => cluster.datastores.some((ref) => ref.value === item.ref.value));
  const datastore = reachable.find((item) => item.ref.value === wanted.datastoreMoref && item.accessible);
  if (datastore !== undefined) return datastore;
  throw new MigrationError(
    'DATASTORE_UNKNOWN',
    `The cluster ${cluster.name} has no accessible datastore ${wanted.datastoreMoref}.`,
    {
      remedy: `Choose one that it has: ${listed(reachable.filter((item) => item.accessible))}.`,
      details: { errors: [{ pointer: '/destination/datastoreMoref', message: 'is not a datastore of this cluster' }] },
    },
  );
}

/** Every network of the VMs gets one at the destination: the one that is named for it, else its namesake. */
function mapNetworks(
  wanted: Wanted,
  cluster: ClusterPlace,
  places: Inventory,
  sources: readonly CheckedSource[],
): NetworkMapping[] {
  const present = places.networks.filter((item) => cluster.networks.some((ref) => ref.value === item.ref.value));
  const names = new Set(present.map((item) => item.name));
  const used = [...new Set(sources.flatMap((source) => source.networks))];
  const unused = wanted.networks.filter((mapping) => !used.includes(mapping.source));
  const mapped = used.map((source) => ({
    source,
    destination: wanted.networks.find((mapping) => mapping.source === source)?.destination ?? source,
  }));
  const unknown = [...mapped, ...unused].filter((mapping) => !names.has(mapping.destination));
  if (unknown.length === 0) return mapped;
  const message = unknown.map((mapping) => `${mapping.destination} (for ${mapping.source})`).join(', ');
  throw new MigrationError('NETWORK_UNKNOWN', `The cluster ${cluster.name} has no network ${message}.`, {
    remedy: `Map each network to one that it has: ${[...names].join(', ')}.`,
    details: {
      errors: unknown.map((mapping) => {
        const index = wanted.networks.findIndex((item) => item.source === mapping.source);
        const pointer = index === -1 ? '/destination/networks' : `/destination/networks/${index}/destination`;
        return { pointer, message: `there is no network ${mapping.destination} for ${mapping.source}` };
      }),
    },
  });
}

function checkVersions(
  session: VsphereSession,
  cluster: ClusterPlace,
  places: Inventory,
  sources: readonly CheckedSource[],
): void {
  const hosts = places.hosts.filter((host) => cluster.hosts.some((ref) => ref.value === host.ref.value));
  for (const { site, facts, host } of sources) {
    if (isOlder(session.about.apiVersion, site.apiVersion)) {
      throw new MigrationError(
        'DESTINATION_OLDER',
        `${session.address} has vSphere API ${session.about.apiVersion}, ${site.name} has ${site.apiVersion}.`,
      );
    }
    const older = hosts.find((item) => host !== undefined && isOlder(item.productVersion, host.productVersion));
    if (older !== undefined) {
      throw new MigrationError(
        'DESTINATION_OLDER',
        `The host ${older.name} has ESXi ${older.productVersion}; ${facts.name} runs on ESXi ${host?.productVersion ?? ''}.`,
      );
    }
  }
}

async function checkIdentities(
  session: VsphereSession,
  sources: readonly CheckedSource[],
  siteName: string,
): Promise<void> {
  const present = await listVms(session);
  for (const [index, { facts }] of sources.entries()) {
    const twin = present.find((vm) => vm.instanceUuid === facts.instanceUuid);
    if (twin === undefined) continue;
    const message = `${siteName} has a VM with the identity of ${facts.name} already (${twin.name})`;
    throw new MigrationError('VM_NOT_ELIGIBLE', `${message}.`, {
      remedy: 'It was migrated before, or is a copy: remove it from the destination, or leave this VM out.',
      details: { errors: [{ pointer: `/vms/${index}`, message, code: 'L10_IDENTITY' }] },
    });
  }
}

/** Thin disks may grow to their capacity while guests write, so that is what must be free. */
async function checkSpace(
  session: VsphereSession,
  datastore: DatastorePlace,
  sources: readonly CheckedSource[],
): Promise<void> {
  const { freeBytes } = await readDatastore(session, datastore.ref);
  const disks = sources.flatMap((source) => source.member.disks);
  const neededBytes = disks.reduce((sum, disk) => sum + disk.capacityBytes, 0n);
  if (freeBytes >= neededBytes) return;
  throw new MigrationError(
    'DATASTORE_FULL',
    `The disks may grow to ${neededBytes} bytes; ${datastore.name} has ${freeBytes} bytes free.`,
    { details: { errors: [{ pointer: '/destination/datastoreMoref', message: 'has too little free space' }] } },
  );
}

function listed(items: readonly { readonly name: string; readonly ref: { readonly value: string } }[]): string {
  return items.map((item) => `${item.name} (${item.ref.value})`).join(', ') || 'there is none';
}
