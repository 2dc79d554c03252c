// Starts a migration: everything is checked against both vCenters, then records and audit row are written in one
// transaction, then the workflow is started. A refusal leaves nothing behind.
import type { StartMigrationRequest } from '../../contracts/rest.ts';
import { defaultDials, limits, type Destination, type MigrationKind } from '../../core/index.ts';
import { createMigration, getMigration, recordAudit, setPlan, type MigrationWithMembers } from '../../db/index.ts';
import type { HandlerContext } from '../http/route.ts';
import { merged } from './change-settings.ts';
import { checkAdmission } from './check-admission.ts';
import { checkDestination } from './check-destination.ts';
import { checkSources } from './check-sources.ts';
import { toRunbook } from './runbook.ts';
import { startSoon } from './start-queued.ts';

export async function startMigration(
  wanted: StartMigrationRequest,
  context: HandlerContext,
): Promise<MigrationWithMembers> {
  const { services, principal, requestId, log } = context;
  const sources = await checkSources(wanted, services);
  const networks = await checkDestination(wanted, sources, services);
  const destination: Destination = { ...wanted.destination, networks };
  const members = sources.map((source) => source.member);
  await checkAdmission(services, wanted.kind, members, destination);
  const migration = await services.database.transaction(async (db) => {
    const made = await createMigration(db, {
      kind: wanted.kind,
      final: wanted.final,
      objectives: wanted.objectives,
      priority: wanted.priority,
      concurrency: wanted.concurrency ?? defaultConcurrency(wanted.kind),
      destination,
      settings: merged(defaultDials, wanted.settings),
      options: { shutDown: wanted.shutDown },
      requestedBy: principal.id,
      members,
    });
    if (wanted.runbook !== undefined) {
      await setPlan(db, made.id, { runbook: toRunbook(wanted.runbook, made.vmMigrations, '/runbook') });
    }
    await recordAudit(db, {
      principalId: principal.id,
      action: 'migration.start',
      targetKind: 'migration',
      targetId: made.id,
      outcome: 'accepted',
      requestId,
      details: {
        ...wanted,
        destination,
        vms: made.vmMigrations.map(({ id, vmName, vmMoref }) => ({ id, vmName, vmMoref })),
      },
    });
    return getMigration(db, made.id);
  });
  await startSoon(log, () => services.workflows.startMigration(migration.id, wanted.kind));
  return migration;
}

function defaultConcurrency(kind: MigrationKind): number {
  return kind === 'group' ? limits.vmsPerMigrationMax : limits.independentConcurrency;
}
