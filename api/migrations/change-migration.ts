// Changes what was planned for a migration that runs. The wish is stored with its audit row; whoever follows the members
// reads it there within seconds, so nothing is lost when a process is away.
import type { ChangeMigrationRequest } from '../../contracts/rest.ts';
import { MigrationError, type Dials, type MigrationOptions } from '../../core/index.ts';
import { getMigration, recordAudit, setPlan, type MigrationWithMembers } from '../../db/index.ts';
import type { HandlerContext } from '../http/route.ts';
import { merged } from './change-settings.ts';
import { toRunbook } from './runbook.ts';
import { startSoon } from './start-queued.ts';
import { tellAdmission } from './tell-admission.ts';

export async function changeMigration(
  id: string,
  change: ChangeMigrationRequest,
  { services, principal, requestId, log }: HandlerContext,
): Promise<MigrationWithMembers> {
  const { database, workflows } = services;
  const after = await database.transaction(async (db) => {
    await db.$executeRaw`SELECT 1 FROM migration WHERE id = ${id} FOR UPDATE`;
    const before = await getMigration(db, id);
    refuse(before, change);
    const { settings, shutDown, runbook, ...plain } = change;
    const options = before.options as unknown as MigrationOptions;
    await setPlan(db, id, {
      ...plain,
      ...(settings === undefined ? {} : { settings: merged(before.settings as unknown as Dials, settings) }),
      ...(shutDown === undefined ? {} : { options: { ...options, shutDown } }),
      ...(runbook === undefined ? {} : { runbook: toRunbook(runbook, before.vmMigrations, '/runbook') }),
    });
    await recordAudit(db, {
      principalId: principal.id,
      action: 'migration.change',
      targetKind: 'migration',
      targetId: id,
      outcome: 'done',
      requestId,
      details: change,
    });
    return getMigration(db, id);
  });
  if (change.priority !== undefined) await startSoon(log, () => tellAdmission(services));
  if (change.settings === undefined) return after;
  for (const member of after.vmMigrations) {
    if (member.settings !== null || member.endedAt !== null) continue;
    await workflows.changeSettings(member.id, null).catch((error: unknown) => {
      log.warn({ err: error }, 'the settings are stored, but a workflow could not be told at once');
    });
  }
  return after;
}

function refuse(before: MigrationWithMembers, change: ChangeMigrationRequest): void {
  if (before.endedAt !== null) throw new MigrationError('ALREADY_ENDED', `${before.id} has ended.`);
  if (before.kind === 'group' && change.final !== undefined && change.final.mode !== 'manual') {
    throw new MigrationError('PHASE_DISALLOWS', 'A group is finished by hand.');
  }
  if (before.kind !== 'group' && change.runbook !== undefined) {
    throw new MigrationError('PHASE_DISALLOWS', 'Only a group has a runbook.');
  }
  if (change.priority !== undefined && !waits(before)) {
    throw new MigrationError('PHASE_DISALLOWS', 'Nothing of it waits for its turn any more.');
  }
  if (change.runbook !== undefined && before.status === 'Final Migration') {
    throw new MigrationError('FINAL_UNDER_WAY', 'The runbook is being carried out.');
  }
}

/** A group takes all its places at once, when it begins; each member of a queue takes its own. */
function waits({ kind, startedAt, vmMigrations }: MigrationWithMembers): boolean {
  if (kind === 'group') return startedAt === null;
  return vmMigrations.some(({ status, endedAt }) => status === 'Queued' && endedAt === null);
}
