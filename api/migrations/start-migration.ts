// Starts a migration: everything is checked against both vCenters, then records and audit row are written in one
// transaction, then the workflow is started. A refusal leaves nothing behind.
import type { StartMigrationRequest } from '../../contracts/rest.ts';
import { defaultDials, type Destination } from '../../core/index.ts';
import { createMigration, recordAudit, type MigrationWithMembers } from '../../db/index.ts';
import type { HandlerContext } from '../http/route.ts';
import { merged } from './change-settings.ts';
import { checkDestination } from './check-destination.ts';
import { checkSources } from './check-sources.ts';
import { startSoon } from './start-queued.ts';

export async function startMigration(
  wanted: StartMigrationRequest,
  context: HandlerContext,
): Promise<MigrationWithMembers> {
  const { services, principal, requestId, log } = context;
  const sources = await checkSources(wanted, services);
  const networks = await checkDestination(wanted, sources, services);
  const destination: Destination = { ...wanted.destination, networks };
  const migration = await services.database.transaction(async (db) => {
    const made = await createMigration(db, {
      kind: wanted.kind,
      autoFinal: wanted.autoFinal,
      destination,
      settings: merged(defaultDials, wanted.settings),
      options: { shutDown: wanted.shutDown },
      requestedBy: principal.id,
      members: sources.map((source) => source.member),
    });
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
    return made;
  });
  await startSoon(log, () => services.workflows.startMigration(migration.id));
  return migration;
}
