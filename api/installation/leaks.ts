// What is still there of ours though nothing under way needs it: open rows in the book of what we made, and what the
// vCenters themselves show. Reads only; a site that cannot be read is named, never passed over.
import type { Leak, LeakReport } from '../../contracts/rest.ts';
import { toMigrationError } from '../../core/index.ts';
import {
  listClusters,
  listOwnedObjects,
  listSites,
  type Cluster,
  type OwnedObject,
  type Site,
} from '../../db/index.ts';
import type { Services } from '../services.ts';
import { lookForTraces, shadowVmName } from './traces.ts';

export async function findLeaks(services: Services): Promise<LeakReport> {
  const { prisma } = services.database;
  const [sites, clusters, owned, active] = await Promise.all([
    listSites(prisma),
    listClusters(prisma),
    listOwnedObjects(prisma),
    prisma.vmMigration.findMany({
      where: { endedAt: null },
      select: { id: true, sourceSiteId: true, vmMoref: true, shadowVmMoref: true },
    }),
  ]);
  const perSite = await Promise.all(
    sites.map(async (site) => {
      const rows = owned.filter((row) => row.siteId === site.id);
      const recorded = rows.filter((row) => !isNeeded(row, active, clusters)).map((row) => toLeak(site, row));
      const seen = await seenLeaks(services, site, { rows, active, clusters });
      return [
        ...recorded,
        ...seen.filter((leak) => !recorded.some((known) => known.kind === leak.kind && known.name === leak.name)),
      ];
    }),
  );
  const items = perSite.flat();
  return { checkedAt: services.now().toISOString(), clean: items.length === 0, items };
}

/** What a migration under way or a cluster's configuration rests on. */
function isNeeded(row: OwnedObject, active: Known['active'], clusters: readonly Cluster[]): boolean {
  // A policy that one migration left on a VM is the next one's by now.
  const isOf = ({ id, sourceSiteId, vmMoref }: Known['active'][number]): boolean =>
    id === row.vmMigrationId ||
    (row.kind === 'attachment' && sourceSiteId === row.siteId && row.name.startsWith(`${vmMoref} `));
  if (row.vmMigrationId !== null) return active.some(isOf);
  return clusters.some((cluster) => cluster.id === row.clusterId);
}

interface Known {
  readonly rows: readonly OwnedObject[];
  readonly active: readonly {
    readonly id: string;
    readonly sourceSiteId: string;
    readonly vmMoref: string;
    readonly shadowVmMoref: string | null;
  }[];
  readonly clusters: readonly Cluster[];
}

async function seenLeaks(services: Services, site: Site, known: Known): Promise<Leak[]> {
  const policyIds = known.clusters
    .filter((cluster) => cluster.siteId === site.id)
    .flatMap((cluster) => cluster.policyId ?? []);
  const neededVms = new Set(
    known.active.flatMap((row) => [...(row.sourceSiteId === site.id ? [row.vmMoref] : []), row.shadowVmMoref ?? '']),
  );
  const activeNames = new Set(known.active.map((row) => shadowVmName(row.id)));
  try {
    const traces = await services.sites.withSite(site.id, (session) => lookForTraces(session, policyIds));
    return traces
      .filter((trace) => !neededVms.has(trace.vmMoref ?? '') && !activeNames.has(trace.name))
      .map((trace) => ({
        siteId: site.id,
        siteName: site.name,
        kind: trace.kind,
        name: trace.name,
        moref: trace.vmMoref,
        vmMigrationId: null,
        message: trace.message,
        remedy: trace.remedy,
      }));
  } catch (error) {
    const { safeMessage, remedy } = toMigrationError(error);
    const message = `${site.name} could not be looked at: ${safeMessage}`;
    return [
      {
        siteId: site.id,
        siteName: site.name,
        kind: 'unreadable',
        name: site.name,
        moref: null,
        vmMigrationId: null,
        message,
        remedy,
      },
    ];
  }
}

function toLeak(site: Site, row: OwnedObject): Leak {
  const kinds: Readonly<Record<string, Leak['kind']>> = {
    vm: 'vm',
    folder: 'file',
    file: 'file',
    disk: 'disk',
    policy: 'policy',
    attachment: 'policy',
    package: 'host-option',
  };
  return {
    siteId: site.id,
    siteName: site.name,
    kind: kinds[row.kind] ?? 'record',
    name: row.name,
    moref: row.moref,
    vmMigrationId: row.vmMigrationId,
    message: `The ${row.kind} ${row.name} was made for ${row.vmMigrationId ?? 'a cluster'} and was not removed.`,
    remedy: 'Look at it in the vSphere Client; remove it there when nothing uses it.',
  };
}
