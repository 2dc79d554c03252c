/**
 * The places of a vCenter: datacenters, clusters, hosts, datastores, networks, and what belongs to what. Reads only.
 */
import { MigrationError } from '../core/index.ts';
import { listObjects, readObject } from './properties.ts';
import type { MoRef } from './schema.ts';
import type { VsphereSession } from './session.ts';

export interface Inventory {
  readonly datacenters: readonly DatacenterPlace[];
  readonly clusters: readonly ClusterPlace[];
  readonly hosts: readonly HostPlace[];
  readonly datastores: readonly DatastorePlace[];
  readonly networks: readonly NetworkPlace[];
}

export interface DatacenterPlace {
  readonly ref: MoRef<'Datacenter'>;
  readonly name: string;
  /** `/Folder/Name`: what datastore file addresses need. */
  readonly inventoryPath: string;
  readonly vmFolder: MoRef<'Folder'>;
}

export interface ClusterPlace {
  readonly ref: MoRef<'ClusterComputeResource'>;
  readonly name: string;
  readonly datacenter: MoRef<'Datacenter'>;
  readonly resourcePool: MoRef<'ResourcePool'>;
  readonly hosts: readonly MoRef<'HostSystem'>[];
  readonly datastores: readonly MoRef<'Datastore'>[];
  readonly networks: readonly MoRef[];
}

export interface HostPlace {
  readonly ref: MoRef<'HostSystem'>;
  readonly name: string;
  readonly parent: MoRef | undefined;
  readonly connected: boolean;
  readonly inMaintenanceMode: boolean;
  /** For example `8.0.3`. */
  readonly productVersion: string;
  readonly build: string;
}

export interface DatastorePlace {
  readonly ref: MoRef<'Datastore'>;
  readonly name: string;
  readonly datacenter: MoRef<'Datacenter'>;
  readonly browser: MoRef<'HostDatastoreBrowser'>;
  /** `VMFS`, `NFS`, `vsan`, ... */
  readonly type: string;
  readonly capacityBytes: bigint;
  readonly freeBytes: bigint;
  readonly accessible: boolean;
}

export interface NetworkPlace {
  readonly ref: MoRef;
  readonly name: string;
  readonly datacenter: MoRef<'Datacenter'>;
  /** Set for port groups of a distributed switch. */
  readonly portgroupKey: string | undefined;
  readonly switchUuid: string | undefined;
}

/** Reads all places. Slow on large inventories (one page per 100 objects): callers keep the result for a while. */
export async function readInventory(session: VsphereSession): Promise<Inventory> {
  const [parents, datacenters, clusters, hosts, datastores, networks, portgroups, switches] = await Promise.all([
    readParents(session),
    listObjects(session, 'Datacenter', ['name', 'vmFolder']),
    listObjects(session, 'ClusterComputeResource', ['name', 'resourcePool', 'host', 'datastore', 'network']),
    listObjects(session, 'HostSystem', ['name', 'parent', 'runtime', 'config.product']),
    listObjects(session, 'Datastore', ['name', 'summary', 'browser']),
    listObjects(session, 'Network', ['name']),
    listObjects(session, 'DistributedVirtualPortgroup', ['key', 'config.distributedVirtualSwitch', 'config.uplink']),
    listObjects(session, 'DistributedVirtualSwitch', ['uuid']),
  ]);
  const datacenterOf = (ref: MoRef): MoRef<'Datacenter'> => parents.datacenterOf(ref);
  const switchUuids = new Map(switches.map(({ ref, values }) => [ref.value, values.uuid]));
  const portgroupByRef = new Map(portgroups.map((portgroup) => [portgroup.ref.value, portgroup.values]));
  return {
    datacenters: datacenters.map(({ ref, values }) => ({
      ref,
      name: values.name ?? '',
      inventoryPath: parents.pathOf(ref),
      vmFolder: known(values.vmFolder, ref) as MoRef<'Folder'>,
    })),
    clusters: clusters.map(({ ref, values }) => ({
      ref,
      name: values.name ?? '',
      datacenter: datacenterOf(ref),
      resourcePool: known(values.resourcePool, ref) as MoRef<'ResourcePool'>,
      hosts: values.host ?? [],
      datastores: values.datastore ?? [],
      networks: values.network ?? [],
    })),
    hosts: hosts.map(({ ref, values }) => ({
      ref,
      name: values.name ?? '',
      parent: values.parent,
      connected: values.runtime?.connectionState === 'connected',
      inMaintenanceMode: values.runtime?.inMaintenanceMode === true,
      productVersion: values['config.product']?.version ?? '',
      build: values['config.product']?.build ?? '',
    })),
    datastores: datastores.map(({ ref, values }) => ({
      ref,
      name: values.name ?? '',
      datacenter: datacenterOf(ref),
      browser: known(values.browser, ref),
      type: values.summary?.type ?? '',
      capacityBytes: values.summary?.capacity ?? 0n,
      freeBytes: values.summary?.freeSpace ?? 0n,
      accessible: values.summary?.accessible === true,
    })),
    networks: networks
      .filter(({ ref }) => portgroupByRef.get(ref.value)?.['config.uplink'] !== true)
      .map(({ ref, values }) => {
        const portgroup = portgroupByRef.get(ref.value);
        const owner = portgroup?.['config.distributedVirtualSwitch'];
        return {
          ref,
          name: values.name ?? '',
          datacenter: datacenterOf(ref),
          portgroupKey: portgroup?.key,
          switchUuid: owner && switchUuids.get(owner.value),
        };
      }),
  };
}

/** Free space of one datastore now, as the server last measured it. */
export async function readDatastore(
  session: VsphereSession,
  ref: MoRef<'Datastore'>,
): Promise<{ name: string; capacityBytes: bigint; freeBytes: bigint; accessible: boolean }> {
  const { values } = await readObject(session, ref, ['summary']);
  const summary = known(values.summary, ref);
  return {
    name: summary.name,
    capacityBytes: summary.capacity,
    freeBytes: summary.freeSpace,
    accessible: summary.accessible,
  };
}

interface Parents {
  datacenterOf(ref: MoRef): MoRef<'Datacenter'>;
  pathOf(ref: MoRef): string;
}

/** Folders and compute resources are what stands between an object and its datacenter. */
async function readParents(session: VsphereSession): Promise<Parents> {
  const lists = await Promise.all(
    (['Folder', 'Datacenter', 'ComputeResource', 'Datastore', 'Network'] as const).map((type) =>
      listObjects(session, type, ['name', 'parent']),
    ),
  );
  const nodes = new Map(lists.flat().map(({ ref, values }) => [ref.value, { ref, ...values }]));
  const chainOf = (ref: MoRef) => {
    const chain = [];
    for (let node = nodes.get(ref.value); node; node = node.parent && nodes.get(node.parent.value)) chain.push(node);
    return chain;
  };
  return {
    datacenterOf: (ref) => {
      const found = chainOf(ref).find((node) => node.ref.type === 'Datacenter');
      return known(found, ref).ref as MoRef<'Datacenter'>;
    },
    pathOf: (ref) =>
      `/${chainOf(ref)
        .map((node) => node.name ?? '')
        .reverse()
        .join('/')}`,
  };
}

function known<V>(value: V | undefined, ref: MoRef): V {
  if (value !== undefined) return value;
  throw new MigrationError('VSPHERE_NO_PERMISSION', `${ref.type} ${ref.value} cannot be read completely`);
}
