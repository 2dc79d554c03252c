/** Clusters that were, or are being, configured as sources. */
import { type FailureNote, type HostResult } from '../core/index.ts';
import type { Cluster } from '../generated/prisma/client.ts';
import { found, json, jsonOrNull, type Database, type Db } from './database.ts';
import { newId } from './new-id.ts';
import { recordEvent } from './events.ts';

export type { Cluster };
export type ClusterState = 'configuring' | 'configured' | 'failed';

/** Begins (or begins again) the configuration of a cluster. */
export async function beginClusterSetup(db: Db, siteId: string, moref: string, name: string): Promise<Cluster> {
  return db.cluster.upsert({
    where: { siteId_moref: { siteId, moref } },
    create: { id: newId('cl'), siteId, moref, name, state: 'configuring' },
    update: { name, state: 'configuring', failure: jsonOrNull(null) },
  });
}

export function findCluster(db: Db, siteId: string, moref: string): Promise<Cluster | null> {
  return db.cluster.findUnique({ where: { siteId_moref: { siteId, moref } } });
}

export async function getCluster(db: Db, id: string): Promise<Cluster> {
  return found(await db.cluster.findUnique({ where: { id } }), 'cluster', id);
}

export function listClusters(db: Db, siteId?: string): Promise<Cluster[]> {
  return db.cluster.findMany({ where: siteId === undefined ? {} : { siteId }, orderBy: { createdAt: 'asc' } });
}

export interface ClusterChange {
  readonly state?: ClusterState;
  readonly policyId?: string | null;
  readonly hosts?: readonly HostResult[];
  readonly failure?: FailureNote | null;
}

export async function updateCluster(db: Db, id: string, change: ClusterChange): Promise<Cluster> {
  const cluster = await db.cluster.update({
    where: { id },
    data: {
      ...(change.state === undefined ? {} : { state: change.state }),
      ...(change.state === 'configured' ? { configuredAt: new Date() } : {}),
      ...(change.policyId === undefined ? {} : { policyId: change.policyId }),
      ...(change.hosts === undefined ? {} : { hosts: json(change.hosts) }),
      ...(change.failure === undefined ? {} : { failure: jsonOrNull(change.failure) }),
    },
  });
  await recordEvent(db, 'cluster.changed', { data: { clusterId: id, siteId: cluster.siteId, state: cluster.state } });
  return cluster;
}

/** Changes the result of one host; others that are written at the same time are kept. */
export async function setHostResult(database: Database, clusterId: string, result: HostResult): Promise<void> {
  await database.transaction(async (db) => {
    await db.$queryRaw`SELECT id FROM cluster WHERE id = ${clusterId} FOR UPDATE`;
    const cluster = await getCluster(db, clusterId);
    const others = (cluster.hosts as unknown as HostResult[]).filter((host) => host.moref !== result.moref);
    await updateCluster(db, clusterId, { hosts: [...others, result].sort((a, b) => a.name.localeCompare(b.name)) });
  });
}
