// What a user does by REST, as short calls: register the lab's sites, configure, start, follow. For demo and tests.
// It holds no judgement; what must be true is said by its callers.

import type {
  Cluster,
  Dials,
  Inventory,
  Migration,
  ProbedSite,
  Site,
  StartMigrationInput,
  Vm,
  VmMigration,
} from '../../contracts/rest.ts';
import type { Installation } from './installation.ts';
import type { Lab, LabSite } from './lab-process.ts';
import { waitFor } from './wait.ts';

const CONFIGURE_TIMEOUT_MS = 120_000;

/** Both sites as registered, and what a migration between them has to name. */
export interface Sites {
  readonly source: Site;
  readonly destination: Site;
  readonly sourceInventory: Inventory;
  readonly destinationInventory: Inventory;
}

/** Looks at the certificate first, as a careful user does, then registers with its thumbprint pinned. */
export async function registerSite(installation: Installation, name: string, site: LabSite): Promise<Site> {
  const probed = await installation.call<ProbedSite>('POST', '/sites/probe', { address: site.address });
  if (probed.thumbprintSha256.toUpperCase() !== site.thumbprintSha256.toUpperCase()) {
    throw new Error(`The certificate at ${site.address} is not the one that this vCenter has`);
  }
  return installation.call<Site>('POST', '/sites', {
    name,
    address: site.address,
    user: site.user,
    password: site.password,
    thumbprintSha256: probed.thumbprintSha256,
  });
}

/** Registers both sites of a lab and reads their inventories. */
export async function registerSites(installation: Installation, lab: Lab): Promise<Sites> {
  const source = await registerSite(installation, 'old-dc', lab.source);
  const destination = await registerSite(installation, 'new-dc', lab.destination);
  return {
    source,
    destination,
    sourceInventory: await installation.call<Inventory>('GET', `/sites/${source.id}/inventory`),
    destinationInventory: await installation.call<Inventory>('GET', `/sites/${destination.id}/inventory`),
  };
}

/** Configures the source's first cluster and waits until every host is ready. */
export async function configureSourceCluster(installation: Installation, sites: Sites): Promise<Cluster> {
  const clusterMoref = first(sites.sourceInventory.clusters, 'a source cluster').moref;
  await installation.call('POST', '/clusters/configure', { siteId: sites.source.id, clusterMoref });
  return waitFor(
    'the source cluster to be configured',
    async () => {
      const clusters = await installation.call<{ items: Cluster[] }>('GET', '/clusters');
      const cluster = clusters.items.find((candidate) => candidate.clusterMoref === clusterMoref);
      if (cluster?.state === 'failed') throw new Error(`Configuring failed: ${JSON.stringify(cluster)}`);
      return cluster?.state === 'configured' ? cluster : undefined;
    },
    { timeoutMs: CONFIGURE_TIMEOUT_MS },
  );
}

export async function listVms(installation: Installation, siteId: string): Promise<Vm[]> {
  return (await installation.call<{ items: Vm[] }>('GET', `/sites/${siteId}/vms`)).items;
}

/** The places of source VMs, in the order of their names. */
export async function findVmPlaces(
  installation: Installation,
  sites: Sites,
  names: readonly string[],
): Promise<{ siteId: string; moref: string }[]> {
  const vms = await listVms(installation, sites.source.id);
  return names.map((name) => {
    const named = vms.filter((vm) => vm.name === name);
    return { siteId: sites.source.id, moref: first(named, `the VM ${name}`).moref };
  });
}

/** Starts a migration of the named source VMs to the destination's first cluster and datastore. */
export async function startMigration(
  installation: Installation,
  sites: Sites,
  options: {
    readonly vmNames: readonly string[];
    readonly autoFinal: boolean;
    readonly settings?: Partial<Dials>;
    /** What else is asked for: group, runbook, objectives. VMs of a runbook are found with `findVmPlaces`. */
    readonly more?: Partial<StartMigrationInput>;
  },
): Promise<Migration> {
  const request: StartMigrationInput = {
    kind: 'independent',
    final: { mode: options.autoFinal ? 'auto' : 'manual' },
    vms: await findVmPlaces(installation, sites, options.vmNames),
    destination: {
      siteId: sites.destination.id,
      clusterMoref: first(sites.destinationInventory.clusters, 'a destination cluster').moref,
      datastoreMoref: first(sites.destinationInventory.datastores, 'a destination datastore').moref,
    },
    settings: options.settings ?? {},
    ...options.more,
  };
  return installation.call<Migration>('POST', '/migrations', request);
}

export function showMigration(installation: Installation, id: string): Promise<Migration> {
  return installation.call<Migration>('GET', `/migrations/${id}`);
}

export function showVmMigration(installation: Installation, id: string): Promise<VmMigration> {
  return installation.call<VmMigration>('GET', `/vm-migrations/${id}`);
}

const endStatuses: readonly string[] = ['Completed', 'Terminated', 'Failed', 'Aborted'];

/** Follows one VM's migration until `reached` says yes; throws when it ends otherwise, with its reason. */
export async function followVmMigration(
  installation: Installation,
  id: string,
  options: {
    readonly reached: (vmMigration: VmMigration) => boolean;
    readonly timeoutMs: number;
    readonly intervalMs?: number;
    readonly onLook?: (vmMigration: VmMigration) => void;
  },
): Promise<VmMigration> {
  return waitFor(
    'the migration to go on',
    async () => {
      const now = await showVmMigration(installation, id);
      options.onLook?.(now);
      if (options.reached(now)) return now;
      if (endStatuses.includes(now.status)) {
        throw new Error(`The migration ended as ${now.status}: ${now.reason?.message ?? 'no reason given'}`);
      }
      return undefined;
    },
    { timeoutMs: options.timeoutMs, intervalMs: options.intervalMs ?? 500 },
  );
}

/** Share of the allocated source bytes that is durable at the destination, 0 to 100. */
export function percentCopied(vmMigration: VmMigration): number {
  const progress = vmMigration.progress;
  if (progress === null) return 0;
  const [copied, allocated] = [Number(progress.copiedBytes), Number(progress.allocatedBytes)];
  return allocated === 0 ? 0 : Math.min(100, (copied / allocated) * 100);
}

function first<Item>(items: readonly Item[], what: string): Item {
  const [item] = items;
  if (item === undefined) throw new Error(`There is no ${what}`);
  return item;
}
