/** Ends a migration that did not complete: undoes every begun step in reverse and says how it ended. */
import { condition, isCancellation, log } from '@temporalio/workflow';
import type { VmMigrationResult } from '../../contracts/workflows.ts';
import { type FailureNote } from '../../core/index.ts';
import { hasFailureCode, noteOf } from '../../temporal/index.ts';
import { enter, type Run } from './run.ts';
import { undoneAfter } from './steps.ts';

type EndStatus = Exclude<VmMigrationResult['status'], 'Completed'>;

export function endStatusOf(run: Run, error: unknown): EndStatus {
  if (run.terminateRequested || isCancellation(error)) return 'Terminated';
  return hasFailureCode(error, 'SOURCE_DISK_CHANGED') ? 'Aborted' : 'Failed';
}

/** Disks that differ are evidence: they stay, with the shadow VM, until somebody terminates. */
export async function keepEvidence(run: Run, failure: FailureNote): Promise<void> {
  await enter(run, 'freeze', {
    state: 'Failed',
    failure: { ...failure, step: run.step },
    reason: failure,
    waitingFor: 'the migration to be terminated',
  });
  await condition(() => run.terminateRequested);
}

/** Runs every undo even when one fails; what could not be undone is returned for people. */
export async function unwind(run: Run): Promise<FailureNote | null> {
  let left: FailureNote | null = null;
  for (const row of undoneAfter(run.reached)) {
    if (row.undo === undefined) continue;
    try {
      await row.undo(run.ref);
    } catch (error) {
      left = noteOf(error);
      log.error('A step could not be undone', { step: row.step, code: left.code });
    }
  }
  return left;
}
