/**
 * One VM's migration from queue to receipt: prepare, replicate, freeze, hand over, build, clean up. Its
 * workflow id is the id of its record. Start reading here, then `steps.ts`. It must hold no business data:
 * activities read the records.
 */
import { CancellationScope, ContinueAsNew } from '@temporalio/workflow';
import type { Standing, VmMigrationFacts } from '../../contracts/activities.ts';
import type { VmMigrationInput, VmMigrationResult } from '../../contracts/workflows.ts';
import { refusal } from '../../temporal/index.ts';
import { claim, giveBack, givingBack, waitForAdmission } from './admission.ts';
import { endEarly, endStatusOf, holdFailed } from './failure.ts';
import { goForward, handOver, persist } from './forward.ts';
import { registerHandlers } from './handlers.ts';
import { records, tireless } from './proxies.ts';
import { replicateUntilFrozen, replicating } from './replicate.ts';
import { report, reportOf } from './report.ts';
import { cancellable, doStep, enter, holdWhilePaused, label, recordOf, showPhase, startRun, type Run } from './run.ts';
import { preparingSteps } from './steps.ts';

/** Replication comes right after it, so its activity notes that as well. */
const lastPrepared = preparingSteps.findLast((row) => row.run !== undefined);

export async function vmMigration(input: VmMigrationInput): Promise<VmMigrationResult> {
  const run = startRun(input);
  registerHandlers(run);
  try {
    const standing = await begin(run);
    // Whoever starts it may have looked a moment too early.
    if (standing.ended !== null) return { status: standing.ended };
    if (input.orphan === true) return await CancellationScope.nonCancellable(() => carryOn(run, standing));
    while (!(await reachDestination(run))) {
      // Failed, and a person wants it to go on.
    }
    await CancellationScope.nonCancellable(() => complete(run));
    return { status: 'Completed' };
  } catch (error) {
    if (error instanceof ContinueAsNew) throw error;
    return await CancellationScope.nonCancellable(() => endEarly(run, error));
  }
}

/**
 * Its former run was ended from outside. What was handed over is finished; everything else is undone. Only the records and
 * the source itself are believed.
 */
async function carryOn(run: Run, standing: Standing): Promise<VmMigrationResult> {
  run.step = standing.step;
  run.reached = standing.step;
  // Nobody may terminate it until it is known who owns the disks.
  run.handingOver = true;
  const owner = standing.handedOver ? 'destination' : await ownerOf(run);
  if (owner === 'destination') {
    await complete(run);
    return { status: 'Completed' };
  }
  run.handingOver = false;
  return endEarly(run, refusal('WORKFLOW_ENDED', 'The workflow of this migration was ended from outside'));
}

/** Before its first freeze a source cannot have given its disks away. */
async function ownerOf(run: Run): Promise<'source' | 'destination'> {
  const preparing = preparingSteps.findIndex(({ step }) => step === run.reached);
  const freezing = preparingSteps.findIndex(({ step }) => step === 'freeze');
  const isBefore = run.reached === 'queued' || (preparing !== -1 && preparing < freezing - 1);
  return isBefore ? 'source' : persist(run, () => tireless.settleOwner(run.ref));
}

/** One that is to be admitted claims at once: that costs it no turn. */
async function read(run: Run): Promise<VmMigrationFacts> {
  if (!run.admitted && run.input.orphan !== true) run.claim = await claim(run);
  run.facts ??= await records.readVmMigration(run.ref);
  return run.facts;
}

/** Returns where the records stand. */
async function begin(run: Run): Promise<Standing> {
  const facts = await read(run);
  label(facts);
  const carried = preparingSteps.findIndex((row) => row.step === run.input.carry?.reached);
  for (const row of preparingSteps.slice(0, carried + 1)) run.done.add(row.step);
  return facts.standing;
}

/** Returns whether the destination owns the disks now. Throws what ends the migration early. */
async function reachDestination(run: Run): Promise<boolean> {
  try {
    for (;;) {
      const token = await cancellable(run, async () => {
        await waitForAdmission(run);
        await prepare(run);
        return replicateUntilFrozen(run);
      });
      run.handingOver = true;
      if (await CancellationScope.nonCancellable(() => handOver(run, token))) return true;
    }
  } catch (error) {
    if (error instanceof ContinueAsNew || endStatusOf(run, error) !== 'Failed') throw error;
    await holdFailed(run, error);
    return false;
  }
}

/** Runs the steps that are not done yet; each is noted as begun first, so that its undo covers a half effect. */
async function prepare(run: Run): Promise<void> {
  for (const row of preparingSteps) {
    if (row.run === undefined || run.done.has(row.step)) continue;
    await holdWhilePaused(run);
    run.reached = row.step;
    const details = row.waitingFor === undefined ? {} : { waitingFor: row.waitingFor };
    await doStep(run, row.step, details, row.run, row === lastPrepared ? { after: replicating(run) } : {});
    run.done.add(row.step);
    run.replicationNoted = row === lastPrepared;
  }
}

async function complete(run: Run): Promise<void> {
  const ended = { what: 'ended', status: 'Completed' } as const;
  const tell = [...givingBack(run), ...reportOf(run, ended)];
  const said = await goForward(run, { after: recordOf(run, 'ended'), tell });
  run.ended = true;
  if (said) {
    showPhase(run, 'ended');
    return;
  }
  await enter(run, 'ended');
  await Promise.all([giveBack(run), report(run, ended)]);
}
