/**
 * What happens when a step fails: the migration stands still where it is, with everything that it made, until
 * a person retries or terminates it. Only what cannot be retried, and a termination, undo at once.
 */
import { condition, isCancellation, log } from '@temporalio/workflow';
import type { RetryChange, VmMigrationResult } from '../../contracts/workflows.ts';
import { errorCodes, type FailureNote } from '../../core/index.ts';
import { hasFailureCode, noteOf } from '../../temporal/index.ts';
import { giveBack } from './admission.ts';
import { takeChange } from './changed-place.ts';
import { records } from './proxies.ts';
import { report } from './report.ts';
import { cancellable, enter, type Run } from './run.ts';
import { undoneAfter } from './steps.ts';

type EndStatus = Exclude<VmMigrationResult['status'], 'Completed'>;

export function endStatusOf(run: Run, error: unknown): EndStatus {
  if (run.terminateRequested || isCancellation(error)) return 'Terminated';
  return hasFailureCode(error, 'SOURCE_DISK_CHANGED') ? 'Aborted' : 'Failed';
}

/** Returns when a person wants another try, with what was changed for it; throws when it is terminated instead. */
export async function holdFailed(run: Run, error: unknown): Promise<void> {
  for (let trouble = error; trouble !== null;) {
    const change = await waitForRetry(run, trouble);
    trouble = await takeChange(run, change).then(
      () => null,
      (failed: unknown) => failed,
    );
    if (isCancellation(trouble)) throw trouble;
  }
  run.facts = await records.readVmMigration(run.ref);
  await report(run, { what: 'retrying' });
  await enter(run, run.step, { failure: null });
}

async function waitForRetry(run: Run, error: unknown): Promise<RetryChange | undefined> {
  const failure = noteOf(error);
  const { step } = run;
  run.failed = failure;
  run.ready = false;
  run.finalUnderWay = false;
  run.finalRequested = false;
  await giveBack(run);
  await enter(run, step, {
    state: 'Failed',
    failure: { ...failure, step },
    reason: failure,
    waitingFor: 'a retry, or the migration to be terminated',
    needsOperator: true,
  });
  await report(run, { what: 'failed', status: 'Failed' });
  await cancellable(run, () => condition(() => run.retryRequested !== null));
  const { change } = run.retryRequested ?? {};
  run.retryRequested = null;
  run.failed = null;
  run.lastRefusal = null;
  return change;
}

export async function endEarly(run: Run, error: unknown): Promise<VmMigrationResult> {
  const status = endStatusOf(run, error);
  const failure = status === 'Terminated' ? terminatedNote : noteOf(error);
  const failedStep = run.step;
  run.finalUnderWay = false;
  run.ready = false;
  run.failed = null;
  run.terminateRequested = true;
  await enter(run, 'unwind', { reason: failure });
  const left = await unwind(run);
  run.ended = true;
  const shown = left === null ? failure : { ...failure, remedy: `${failure.remedy} Left behind: ${left.message}.` };
  const expected = status === 'Terminated' && left === null;
  await enter(run, 'ended', {
    state: status,
    reason: shown,
    // What it had failed with before it was terminated stays on record.
    ...(expected ? {} : { failure: { ...shown, step: failedStep } }),
  });
  await giveBack(run);
  await report(run, { what: 'ended', status });
  return { status };
}

/** Runs every undo even when one fails; what could not be undone is returned for people. */
async function unwind(run: Run): Promise<FailureNote | null> {
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

const terminatedNote: FailureNote = {
  code: 'TERMINATED',
  message: errorCodes.TERMINATED.title,
  remedy: errorCodes.TERMINATED.remedy,
};
