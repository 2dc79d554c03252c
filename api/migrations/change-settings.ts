// Changes the settings of one VM's migration: the wish is stored with its audit row, then the workflow is told.
// What is in force is for the replicator to say; a wish that nobody could be told of is found by whoever supervises it.
import type { ChangeSettingsRequest } from '../../contracts/rest.ts';
import { MigrationError, effectiveDials, type Dials } from '../../core/index.ts';
import { getVmMigration, recordAudit, setDesiredDials, type VmMigrationDetails } from '../../db/index.ts';
import type { HandlerContext } from '../http/route.ts';

export async function changeVmSettings(
  id: string,
  change: ChangeSettingsRequest,
  { services, principal, requestId, log }: HandlerContext,
): Promise<VmMigrationDetails> {
  const { row, dials } = await services.database.transaction(async (db) => {
    await db.$executeRaw`SELECT 1 FROM vm_migration WHERE id = ${id} FOR UPDATE`;
    const before = await getVmMigration(db, id);
    if (before.endedAt !== null)
      throw new MigrationError('ALREADY_ENDED', `${id} ended at ${before.endedAt.toISOString()}.`);
    if (before.status === 'Final Migration') throw new MigrationError('FINAL_UNDER_WAY');
    const old = effectiveDials(before.settings as Dials | null, before.migration.settings as unknown as Dials);
    const wanted = merged(old, change);
    await setDesiredDials(db, id, wanted);
    await recordAudit(db, {
      principalId: principal.id,
      action: 'vm-migration.change-settings',
      targetKind: 'vm-migration',
      targetId: id,
      outcome: 'done',
      requestId,
      details: { before: old, after: wanted },
    });
    return { row: await getVmMigration(db, id), dials: wanted };
  });
  try {
    await services.workflows.changeSettings(id, dials);
  } catch (error) {
    log.warn({ err: error }, 'the settings are stored, but the workflow could not be told at once');
  }
  return row;
}

/** The old settings with what is named replaced; null is a value, absence is not. */
export function merged(old: Dials, change: ChangeSettingsRequest): Dials {
  return {
    replicationRate: change.replicationRate ?? old.replicationRate,
    writeThrottling: change.writeThrottling ?? old.writeThrottling,
    bytesPerSecondMax: change.bytesPerSecondMax === undefined ? old.bytesPerSecondMax : change.bytesPerSecondMax,
    addedWriteLatencyMsMax:
      change.addedWriteLatencyMsMax === undefined ? old.addedWriteLatencyMsMax : change.addedWriteLatencyMsMax,
  };
}
