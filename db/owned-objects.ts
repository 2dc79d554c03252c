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
