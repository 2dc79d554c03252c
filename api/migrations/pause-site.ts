// Pauses everything of a site, and lets it go on. The records hold the state: steps and supervisors of its migrations read it
// there, and admission is told that the site has nothing to give out. So a process that dies in between loses nothing.
import { getSite, recordAudit, setSitePaused } from '../../db/index.ts';
import type { HandlerContext } from '../http/route.ts';
import { startSoon } from './start-queued.ts';
import { tellAdmission, tellHeld } from './tell-admission.ts';

/** The same again changes nothing, and is accepted. */
export async function pauseSite(id: string, paused: boolean, context: HandlerContext): Promise<void> {
  const { services, principal, requestId, log } = context;
  await services.database.transaction(async (db) => {
    await getSite(db, id);
    await db.$executeRaw`SELECT 1 FROM site WHERE id = ${id} FOR UPDATE`;
    await recordAudit(db, {
      principalId: principal.id,
      action: paused ? 'site.pause' : 'site.resume',
      targetKind: 'site',
      targetId: id,
      outcome: 'accepted',
      requestId,
    });
    await setSitePaused(db, id, paused, services.now());
  });
  await startSoon(log, async () => {
    await tellAdmission(services);
    await tellHeld(services);
  });
}
