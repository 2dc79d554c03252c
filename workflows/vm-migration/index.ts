/**
 * One VM's migration from queue to receipt: prepare, replicate, freeze, hand over, build, clean up. Its
 * workflow id is the id of its record. Start reading here, then `steps.ts`. It must hold no business data:
 * activities read the records.
 */
import { CancellationScope, ContinueAsNew, getExternalWorkflowHandle, log } from '@temporalio/workflow';
import type { VmMigrationInput, VmMigrationResult } from '../../contracts/workflows.ts';
import { errorCodes, type FailureNote } from '../../core/index.ts';
import { hasFailureCode, noteOf } from '../../temporal/index.ts';
import { memberEnded } from '../messages.ts';
import { goForward, handOver } from './forward.ts';
import { registerHandlers } from './handlers.ts';
import { records } from './proxies.ts';
import { replicateUntilFrozen } from './replicate.ts';
import { cancellable, enter, label, startRun, type Run } from './run.ts';
import { preparingSteps } from './steps.ts';
import { endStatusOf, keepEvidence, unwind } from './unwind.ts';

export async function vmMigration(input: VmMigrationInput): Promise<VmMigrationResult> {
  const run = startRun(input);
  registerHandlers(run);
  try {
    await begin(run);
    for (;;) {
      const token = await cancellable(run, async () => {
        await prepare(run);
        return replicateUntilFrozen(run);
      });
      run.handingOver = true;
      if (await CancellationScope.nonCancellable(() => handOver(run, token))) break;
      run.handingOver = false;
    }
    await CancellationScope.nonCancellable(() => complete(run));
    return { status: 'Completed' };
  } catch (error) {
    if (error instanceof ContinueAsNew) throw error;
    return await CancellationScope.nonCancellable(() => endEarly(run, error));
  }
}

async function begin(run: Run): Promise<void> {
  run.facts = await records.readVmMigration(run.ref);
  if (run.input.carry === undefined) run.autoFinal = run.facts.autoFinal;
  label(run.facts);
}

/** Runs the steps that were not begun yet; each is noted as begun first, so that its undo covers a half effect. */
async function prepare(run: Run): Promise<void> {
  const done = preparingSteps.findIndex((row) => row.step === run.reached);
  for (const row of preparingSteps.slice(done + 1)) {
    if (row.run === undefined) continue;
    run.reached = row.step;
    await enter(run, row.step, row.waitingFor === undefined ? {} : { waitingFor: row.waitingFor });
    await row.run(run.ref);
  }
}

async function complete(run: Run): Promise<void> {
  await goForward(run);
  run.ended = true;
  await enter(run, 'ended');
  await tellParent(run, 'Completed');
}

async function endEarly(run: Run, error: unknown): Promise<VmMigrationResult> {
  const status = endStatusOf(run, error);
  const failure = status === 'Terminated' ? terminatedNote : noteOf(error);
  const failedStep = run.step;
  run.finalUnderWay = false;
  run.ready = false;
  if (status === 'Failed' && hasFailureCode(error, 'ROOTS_DIFFER')) {
    await tellParent(run, status);
    await keepEvidence(run, failure);
  }
  run.terminateRequested = true;
  await enter(run, 'unwind', { reason: failure });
  const left = await unwind(run);
  run.ended = true;
  const shown = left === null ? failure : { ...failure, remedy: `${failure.remedy} Left behind: ${left.message}.` };
  await enter(run, 'ended', {
    state: status,
    reason: shown,
    ...(status === 'Terminated' && left === null ? {} : { failure: { ...shown, step: failedStep } }),
  });
  await tellParent(run, status);
  return { status };
}

const terminatedNote: FailureNote = {
  code: 'TERMINATED',
  message: errorCodes.TERMINATED.title,
  remedy: errorCodes.TERMINATED.remedy,
};

async function tellParent(run: Run, status: VmMigrationResult['status']): Promise<void> {
  if (run.input.parentWorkflowId === undefined) return;
  try {
    const parent = getExternalWorkflowHandle(run.input.parentWorkflowId);
    await parent.signal(memberEnded, { vmMigrationId: run.ref.vmMigrationId, status });
  } catch {
    log.info('The workflow that started this one is gone');
  }
}
