/**
 * The book of everything that we made or changed in a vCenter. A row is written before the thing is made
 * and released after it is gone, so that whatever a crash leaves behind can be found and removed.
 */
import type { OwnedObject } from '../generated/prisma/client.ts';
import type { Db } from './database.ts';
import { newId } from './new-id.ts';

export type { OwnedObject };
export type OwnedKind = 'vm' | 'folder' | 'file' | 'disk' | 'policy' | 'attachment' | 'package' | 'customField';

export interface NewOwnedObject {
  readonly siteId: string;
  readonly kind: OwnedKind;
  /** Datastore path, policy name, VM name, or "VM device" for an attachment. */
  readonly name: string;
  readonly vmMigrationId?: string;
  readonly clusterId?: string;
}

/** Writes the intent; the same intent twice is one row. */
export async function claimObject(db: Db, wanted: NewOwnedObject): Promise<OwnedObject> {
  const { siteId, kind, name, vmMigrationId = null, clusterId = null } = wanted;
  const there = await db.ownedObject.findFirst({
    where: { siteId, kind, name, vmMigrationId, clusterId, releasedAt: null },
  });
  return there ?? db.ownedObject.create({ data: { id: newId('own'), siteId, kind, name, vmMigrationId, clusterId } });
}

/** Whether another migration has claimed this name and not released it. */
export async function isClaimedByOther(db: Db, wanted: NewOwnedObject): Promise<boolean> {
  const { siteId, kind, name, vmMigrationId = null } = wanted;
  const others = await db.ownedObject.findMany({ where: { siteId, kind, name, releasedAt: null } });
  return others.some((row) => row.vmMigrationId !== vmMigrationId);
}

export async function nameObject(db: Db, id: string, moref: string): Promise<void> {
  await db.ownedObject.update({ where: { id }, data: { moref } });
}

export async function releaseObject(db: Db, id: string): Promise<void> {
  await db.ownedObject.update({ where: { id }, data: { releasedAt: new Date() } });
}

/** Releases what has this name; also for things that now belong to the user, such as the final VM's disks. */
export async function releaseByName(db: Db, wanted: NewOwnedObject): Promise<void> {
  const { siteId, kind, name, vmMigrationId = null, clusterId = null } = wanted;
  await db.ownedObject.updateMany({
    where: { siteId, kind, name, vmMigrationId, clusterId, releasedAt: null },
    data: { releasedAt: new Date() },
  });
}

export function listOwnedObjects(
  db: Db,
  filter: { readonly siteId?: string; readonly vmMigrationId?: string; readonly kind?: OwnedKind } = {},
): Promise<OwnedObject[]> {
  return db.ownedObject.findMany({ where: { ...filter, releasedAt: null }, orderBy: { createdAt: 'asc' } });
}

/**
 * Ended migrations of which something is still there. A policy on a VM that is migrated again is left to that migration;
 * what is left of it then is found when that has ended.
 */
export function listLeftovers(
  db: Db,
  { endedBefore, limit }: { readonly endedBefore: Date; readonly limit: number },
): Promise<{ readonly id: string; readonly status: string }[]> {
  return db.$queryRaw`
    SELECT id, status FROM vm_migration AS past WHERE ended_at < ${endedBefore} AND EXISTS (
      SELECT FROM owned_object AS thing WHERE thing.vm_migration_id = past.id AND released_at IS NULL
        AND NOT (kind = 'attachment' AND EXISTS (
          SELECT FROM vm_migration AS present WHERE present.source_site_id = past.source_site_id
            AND present.vm_instance_uuid = past.vm_instance_uuid AND present.ended_at IS NULL)))
    ORDER BY id LIMIT ${limit}`;
}
