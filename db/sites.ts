/** Registered vCenters. Passwords rest sealed; only `siteCredentials` opens them. */
import { MigrationError } from '../core/index.ts';
import type { Site } from '../generated/prisma/client.ts';
import { found, isUniqueViolation, type Db } from './database.ts';
import { recordEvent } from './events.ts';
import { newId } from './new-id.ts';
import type { SealingKey } from './sealing.ts';

export type { Site };

export interface NewSite {
  readonly name: string;
  readonly address: string;
  readonly username: string;
  readonly password: string;
  readonly thumbprintSha256: string;
  readonly instanceUuid: string;
  readonly apiVersion: string;
  readonly productName: string;
}

export interface SiteCredentials {
  readonly address: string;
  readonly username: string;
  readonly password: string;
  readonly thumbprintSha256: string;
}

/** Throws SITE_EXISTS when the vCenter or the name is taken. */
export async function insertSite(db: Db, key: SealingKey, site: NewSite): Promise<Site> {
  const id = newId('site');
  const { password, ...rest } = site;
  try {
    return await db.site.create({ data: { id, ...rest, passwordSealed: key.seal(password, id) } });
  } catch (error) {
    if (isUniqueViolation(error)) {
      throw new MigrationError('SITE_EXISTS', `A site with this vCenter or the name ${site.name} exists`);
    }
    throw error;
  }
}

export async function getSite(db: Db, id: string): Promise<Site> {
  return found(await db.site.findUnique({ where: { id } }), 'site', id);
}

export function listSites(db: Db): Promise<Site[]> {
  return db.site.findMany({ orderBy: { createdAt: 'asc' } });
}

export async function siteCredentials(db: Db, key: SealingKey, id: string): Promise<SiteCredentials> {
  const site = await getSite(db, id);
  const { address, username, thumbprintSha256 } = site;
  return { address, username, thumbprintSha256, password: key.unseal(site.passwordSealed, site.id) };
}

/** Lets everything of a site stand still, or go on. Returns whether that is new. */
export async function setSitePaused(db: Db, id: string, paused: boolean, now: Date): Promise<boolean> {
  const { name, pausedAt } = await getSite(db, id);
  if ((pausedAt !== null) === paused) return false;
  await db.site.update({ where: { id }, data: { pausedAt: paused ? now : null } });
  await recordEvent(db, 'site.changed', { data: { siteId: id, name, paused } });
  return true;
}

/** Name of one of these sites that is paused. */
export async function findPausedSite(db: Db, ids: readonly string[]): Promise<string | null> {
  const where = { id: { in: [...ids] }, pausedAt: { not: null } };
  return (await db.site.findFirst({ where, orderBy: { name: 'asc' } }))?.name ?? null;
}

/** Throws SITE_IN_USE while a migration touches it or a cluster of it is configured. */
export async function deleteSite(db: Db, id: string): Promise<void> {
  await getSite(db, id);
  const active = await db.vmMigration.count({
    where: { endedAt: null, OR: [{ sourceSiteId: id }, { destinationSiteId: id }] },
  });
  if (active > 0) throw new MigrationError('SITE_IN_USE', `${active} migrations use this site`);
  await db.site.delete({ where: { id } });
}
