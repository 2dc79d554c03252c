/**
 * From the first copied byte to the frozen source: follows replication, waits for the final migration,
 * stops the source and freezes. Whatever cancels a final from outside leads back to replication.
 */
import {
  CancellationScope,
  allHandlersFinished,
  condition,
  continueAsNew,
  isCancellation,
  workflowInfo,
} from '@temporalio/workflow';
import type { SuperviseResult, SuperviseUntil } from '../../contracts/activities.ts';
import type { VmMigrationInput } from '../../contracts/workflows.ts';
import { limits, type ErrorCode } from '../../core/index.ts';
import { hasFailureCode, noteOf, refusal } from '../../temporal/index.ts';
import { finalInGroup } from './final-in-group.ts';
import { finals, records, supervisor, tireless, waits } from './proxies.ts';
import { report } from './report.ts';
import { enter, type Run } from './run.ts';

/** A final migration that ends so leaves the source as the owner, and replication goes on. */
const harmless: readonly ErrorCode[] = [
  'FREEZE_CANCELLED',
  'SOURCE_STORAGE_FAILED',
  'SHUT_DOWN_TIMEOUT',
  'GROUP_RETURNED',
];

/** Returns the token under which the source is frozen with both sides equal. */
export async function replicateUntilFrozen(run: Run): Promise<number> {
  for (;;) {
    await replicateUntilReady(run);
    await waitForFinal(run);
    if (!run.ready) {
      await report(run, { what: 'not-ready' });
      continue;
    }
    try {
      return run.input.inGroup === true
        ? await finalInGroup(run, { stop: stopSource, freeze })
        : await stopAndFreeze(run);
    } catch (error) {
      if (!hasFailureCode(error, ...harmless)) throw error;
      await giveUpFinal(run, error);
    }
  }
}

/**
 * The source is the owner and runs as before. A final that was cancelled from outside is not begun again by itself:
 * a person has touched the source.
 */
export async function giveUpFinal(run: Run, error: unknown): Promise<void> {
  run.lastRefusal = noteOf(error);
  run.onlyByHand = true;
  run.finalRequested = false;
  // A member that was ordered back has done so already.
  if (!hasFailureCode(error, 'GROUP_RETURNED')) await tireless.restoreSourcePower(run.ref);
  run.finalUnderWay = false;
}

async function replicateUntilReady(run: Run): Promise<void> {
  run.ready = false;
  run.finalRequested = false;
  run.reached = 'replicate';
  await enter(run, 'replicate', { reason: run.lastRefusal });
  for (;;) {
    const result = await supervise(run, 'ready');
    if (result.outcome === 'ready') break;
    await renewRun(run);
  }
  run.ready = true;
}

/** Returns when the final migration is to begin, or with `ready` false when readiness was lost. */
async function waitForFinal(run: Run): Promise<void> {
  const byRules = run.input.inGroup !== true && !run.onlyByHand;
  await enter(run, 'ready', {
    waitingFor: byRules ? 'the rules of its final migration' : 'the final migration to be started',
    reason: run.lastRefusal,
    needsOperator: !byRules,
  });
  await report(run, { what: 'ready' });
  while (!isFinalWanted(run) && run.ready) {
    const outcome = await superviseUntilFinal(run, byRules ? 'final' : 'not-ready');
    if (outcome === 'not-ready') run.ready = false;
    if (outcome === 'final' && (byRules || isFinalWanted(run))) return;
    if (outcome === 'detached') await renewRun(run);
  }
}

function isFinalWanted(run: Run): boolean {
  return run.finalRequested || run.order?.order === 'stop';
}

/** The supervisor goes on writing progress while people decide; a wanted final lets go of it at once. */
async function superviseUntilFinal(run: Run, until: SuperviseUntil): Promise<SuperviseResult['outcome']> {
  const scope = new CancellationScope({ cancellable: true });
  const following = scope.run(() => supervise(run, until)).then((result) => result.outcome);
  const wanted = condition(() => isFinalWanted(run)).then(() => 'final' as const);
  const first = await Promise.race([following, wanted]);
  if (first === 'final') {
    scope.cancel();
    await following.catch((error: unknown) => {
      if (!isCancellation(error)) throw error;
    });
  }
  return first;
}

async function supervise(run: Run, until: SuperviseUntil): Promise<SuperviseResult> {
  const result = await supervisor.superviseReplication({
    ...run.ref,
    until,
    detachAfterSeconds: limits.superviseDetachSeconds,
  });
  if (result.outcome === 'aborted') {
    throw refusal('SOURCE_DISK_CHANGED', result.failure?.message ?? 'A disk of the source VM was changed');
  }
  return result;
}

/** The job runs on by itself, so this is the safe place to start with an empty history. */
async function renewRun(run: Run): Promise<void> {
  if (!workflowInfo().continueAsNewSuggested && workflowInfo().historyLength < limits.historyEventsMax) return;
  await condition(allHandlersFinished);
  const { onlyByHand, paused, reached } = run;
  await continueAsNew<(input: VmMigrationInput) => Promise<unknown>>({
    ...run.input,
    carry: { version: 2, reached, onlyByHand, paused },
  });
}

async function stopAndFreeze(run: Run): Promise<number> {
  await stopSource(run);
  return freeze(run);
}

async function stopSource(run: Run): Promise<void> {
  run.finalUnderWay = true;
  run.lastRefusal = null;
  run.reached = 'shutDownGuest';
  const [facts] = await Promise.all([
    records.readVmMigration(run.ref),
    enter(run, 'shutDownGuest', { waitingFor: 'the source VM to be powered off' }),
  ]);
  // The rules may have been changed since it began.
  run.facts = facts;
  await waits.stopSourceVm(run.ref);
}

async function freeze(run: Run): Promise<number> {
  const noted = enter(run, 'freeze', { waitingFor: 'the last bytes and the comparison of both sides' });
  const [token] = await Promise.all([finals.takeToken(run.ref), noted]);
  try {
    await finals.freezeReplication({ ...run.ref, token });
    return token;
  } catch (error) {
    await CancellationScope.nonCancellable(() => tireless.unfreezeReplication({ ...run.ref, token }));
    throw error;
  }
}
