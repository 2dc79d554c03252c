/** What queue and group share about their members. */
import { CancellationScope, proxyLocalActivities } from '@temporalio/workflow';
import type { RecordsActivities } from '../contracts/activities.ts';
import type { MigrationResult, OperatorCommand } from '../contracts/workflows.ts';
import { errorCodes, type Status } from '../core/index.ts';
import { recordsOptions } from '../temporal/index.ts';
import { memberCommand } from './messages.ts';
import { tell } from './tell.ts';

const records = proxyLocalActivities<RecordsActivities>(recordsOptions);

/**
 * Ends members that nobody has started, as far as the asker knows, each with who wants it: the asker may be wrong when it was
 * started again itself. Returns how each has ended; null is one that runs, or will be carried on, and reports its end by itself.
 */
export async function endUnbegun(
  members: readonly (readonly [string, OperatorCommand])[],
): Promise<readonly (readonly [string, Status | null])[]> {
  const told = await Promise.all(members.map(([id, by]) => tell(id, memberCommand, { ...by, kind: 'terminate' })));
  const ends: (readonly [string, Status | null])[] = [];
  for (const [index, [id]] of members.entries()) ends.push([id, told[index] === true ? null : await endUntold(id)]);
  return ends;
}

/** Only one that never began has nothing to undo. One that has begun and lost its workflow is carried on by the janitor. */
async function endUntold(vmMigrationId: string): Promise<Status | null> {
  return CancellationScope.nonCancellable(async () => {
    const { standing } = await records.readVmMigration({ vmMigrationId });
    if (standing.ended !== null || standing.step !== 'queued') return standing.ended;
    const { title, remedy } = errorCodes.TERMINATED;
    const reason = { code: 'TERMINATED', message: `${title}. ${remedy}` };
    await records.notePhase({ vmMigrationId, step: 'ended', state: 'Terminated', reason });
    return 'Terminated';
  });
}

export function countEnds(statuses: readonly Status[]): MigrationResult {
  const of = (...wanted: readonly Status[]): number => statuses.filter((status) => wanted.includes(status)).length;
  return { completed: of('Completed'), failed: of('Failed', 'Aborted'), terminated: of('Terminated') };
}
