// Starts a migration: everything is checked against both vCenters, then records and audit row are written in one
// transaction, then the workflow is started. A refusal leaves nothing behind.
import type { StartMigrationRequest } from '../../contracts/rest.ts';
import { defaultDials, limits, type Destination, type MigrationKind } from '../../core/index.ts';
import {
  createMigration,
  findMigration,
  getMigration,
  recordAudit,
  setPlan,
  type MigrationWithMembers,
} from '../../db/index.ts';
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
  const { services, principal, requestId, claimId } = context;
  const id = claimId === null ? undefined : `mig_${claimId}`;
  const made = id === undefined ? null : await findMigration(services.database.prisma, id);
  // A repeat, after a process that died between the records and its answer.
  if (made !== null) return begin(made, context);
  const sources = await checkSources(wanted, services);
  const networks = await checkDestination(wanted, sources, services);
  const destination: Destination = { ...wanted.destination, networks };
  const members = sources.map((source) => source.member);
  await checkAdmission(services, wanted.kind, members, destination);
  const migration = await services.database.transaction(async (db) => {
    const { id: newId, vmMigrations } = await createMigration(db, {
      ...(id === undefined ? {} : { id }),
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
      await setPlan(db, newId, { runbook: toRunbook(wanted.runbook, vmMigrations, '/runbook') });
    }
    await recordAudit(db, {
      principalId: principal.id,
      action: 'migration.start',
      targetKind: 'migration',
      targetId: newId,
      outcome: 'accepted',
      requestId,
      details: {
        ...wanted,
        destination,
        vms: vmMigrations.map(({ id, vmName, vmMoref }) => ({ id, vmName, vmMoref })),
      },
    });
    return getMigration(db, newId);
  });
  return begin(migration, context);
}

async function begin(
  migration: MigrationWithMembers,
  { services, log }: HandlerContext,
): Promise<MigrationWithMembers> {
  await startSoon(log, () => services.workflows.startMigration(migration.id, migration.kind as MigrationKind));
  return migration;
}

function defaultConcurrency(kind: MigrationKind): number {
  return kind === 'group' ? limits.vmsPerMigrationMax : limits.independentConcurrency;
}
