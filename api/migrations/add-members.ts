// Adds VMs to the queue of an independent migration that runs. Checked and written like those of a new one; the workflow
// takes them up from its signal, or finds them by itself when it is told again.
import { MigrationError, type Destination } from '../../core/index.ts';
import { createMember, getMigration, recordAudit, type MigrationWithMembers } from '../../db/index.ts';
import type { HandlerContext } from '../http/route.ts';
import { checkDestination } from './check-destination.ts';
import { checkSources } from './check-sources.ts';

export async function addMembers(
  id: string,
  vms: readonly { readonly siteId: string; readonly moref: string }[],
  { services, principal, requestId }: HandlerContext,
): Promise<MigrationWithMembers> {
  const { prisma } = services.database;
  const before = await getMigration(prisma, id);
  if (before.endedAt !== null) throw new MigrationError('ALREADY_ENDED', `${id} has ended.`);
  if (before.kind !== 'independent') throw new MigrationError('PHASE_DISALLOWS', 'A group cannot grow.');
  const destination = before.destination as unknown as Destination;
  const wanted = { vms: [...vms], destination: { ...destination, networks: [...destination.networks] } };
  const sources = await checkSources(wanted, services);
  await checkDestination(wanted, sources, services);
  const added = await services.database.transaction(async (db) => {
    await db.$executeRaw`SELECT 1 FROM migration WHERE id = ${id} FOR UPDATE`;
    const { vmMigrations } = await getMigration(db, id);
    const end = Math.max(-1, ...vmMigrations.map(({ position }) => position)) + 1;
    const ids: string[] = [];
    for (const [index, { member }] of sources.entries()) {
      ids.push(await createMember(db, id, destination.siteId, member, end + index));
    }
    await recordAudit(db, {
      principalId: principal.id,
      action: 'migration.add-members',
      targetKind: 'migration',
      targetId: id,
      outcome: 'accepted',
      requestId,
      details: { members: ids },
    });
    return ids;
  });
  try {
    await services.workflows.changeQueue(id, { kind: 'add', ids: added }, principal.id);
  } catch (error) {
    // Nobody would ever begin them.
    await prisma.vmMigration.deleteMany({ where: { id: { in: added }, step: 'queued' } });
    throw error;
  }
  return getMigration(prisma, id);
}
