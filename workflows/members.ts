/** What queue and group share about their members. */
import { CancellationScope, proxyLocalActivities } from '@temporalio/workflow';
import type { RecordsActivities } from '../contracts/activities.ts';
import type { MigrationResult } from '../contracts/workflows.ts';
import { errorCodes, type Status } from '../core/index.ts';
import { recordsOptions } from '../temporal/index.ts';

const records = proxyLocalActivities<RecordsActivities>(recordsOptions);

/** A member that never began ends without anything to undo. */
export async function endAsTerminated(vmMigrationId: string): Promise<void> {
  const { title, remedy } = errorCodes.TERMINATED;
  await CancellationScope.nonCancellable(() =>
    records.notePhase({
      vmMigrationId,
      step: 'ended',
      state: 'Terminated',
      reason: { code: 'TERMINATED', message: `${title}. ${remedy}` },
    }),
  );
}

export function countEnds(statuses: readonly Status[]): MigrationResult {
  const of = (...wanted: readonly Status[]): number => statuses.filter((status) => wanted.includes(status)).length;
  return { completed: of('Completed'), failed: of('Failed', 'Aborted'), terminated: of('Terminated') };
}
