// A final migration is not begun while one of its sites is paused.
import { MigrationError, siteToResume } from '../../core/index.ts';
import { findPausedSite, type VmMigration } from '../../db/index.ts';
import type { Services } from '../services.ts';

/** Throws PHASE_DISALLOWS that names the site. */
export async function refusePausedSites(
  members: readonly Pick<VmMigration, 'sourceSiteId' | 'destinationSiteId'>[],
  { database }: Services,
): Promise<void> {
  const sites = new Set(members.flatMap(({ sourceSiteId, destinationSiteId }) => [sourceSiteId, destinationSiteId]));
  const paused = await findPausedSite(database.prisma, [...sites]);
  if (paused !== null) throw new MigrationError('PHASE_DISALLOWS', `It waits for ${siteToResume(paused)}.`);
}
