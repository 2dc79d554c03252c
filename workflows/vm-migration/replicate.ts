/**
 * From the first copied byte to the frozen source: follows replication, waits for the final migration,
 * stops the source and freezes. Whatever cancels a final from outside leads back to replication.
 */
import { CancellationScope, CancelledFailure, condition, isCancellation } from '@temporalio/workflow';
import type { AfterWork, PhaseNote, SuperviseResult, SuperviseUntil } from '../../contracts/activities.ts';
import { limits, type ErrorCode } from '../../core/index.ts';
import { hasFailureCode, noteOf, refusal } from '../../temporal/index.ts';
import { lookIfLong } from '../begin-anew.ts';
import { finalInGroup } from './final-in-group.ts';
import { finals, supervisor, tireless, waits } from './proxies.ts';
import { isLong, renewRun } from './renew.ts';
import { report, reportOf } from './report.ts';
import { enter, phaseNote, recordOf, showPhase, type PhaseDetails, type Run } from './run.ts';

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
      if (run.input.inGroup === true) await report(run, { what: 'not-ready' });
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

/** What the records say from the first copied byte on. */
export function replicating(run: Run): PhaseNote {
  return recordOf(run, 'replicate', { reason: run.lastRefusal });
}

async function replicateUntilReady(run: Run): Promise<void> {
  run.ready = false;
  run.finalRequested = false;
  run.reached = 'replicate';
  if (run.replicationNoted) showPhase(run, 'replicate', { reason: run.lastRefusal });
  else await enter(run, 'replicate', { reason: run.lastRefusal });
  run.replicationNoted = false;
  for (;;) {
    const outcome = await follow(run, 'ready', saying(run));
    if (outcome === 'ready') break;
    await renewRun(run);
  }
  run.ready = true;
  if (run.input.inGroup === true) showPhase(run, 'ready', whenReady(run));
  else await enter(run, 'ready', whenReady(run));
}

/**
 * What people and the group are told by the supervisor that sees it ready. Of a migration by itself the workflow says it: whoever
 * reads it may begin the final at once, and must not be refused because the workflow does not know yet.
 */
function saying(run: Run): AfterWork {
  if (run.input.inGroup !== true) return {};
  // A supervisor that was let go of may say it late.
  const after: PhaseNote = { ...recordOf(run, 'ready', whenReady(run)), onlyDuring: ['replicate'] };
  return { after, tell: reportOf(run, { what: 'ready' }) };
}

function whenReady(run: Run): PhaseDetails {
  const byRules = goesByRules(run);
  return {
    waitingFor: byRules ? 'the rules of its final migration' : 'the final migration to be started',
    reason: run.lastRefusal,
    needsOperator: !byRules,
  };
}

function goesByRules({ input, onlyByHand }: Run): boolean {
  return input.inGroup !== true && !onlyByHand;
}

/** Returns when the final migration is to begin, or with `ready` false when readiness was lost. */
async function waitForFinal(run: Run): Promise<void> {
  const byRules = goesByRules(run);
  while (!isFinalWanted(run) && run.ready) {
    const outcome = await follow(run, byRules ? 'final' : 'not-ready');
    if (outcome === 'not-ready') run.ready = false;
    if (outcome === 'final' && (byRules || isFinalWanted(run))) return;
    if (outcome === 'detached') await renewRun(run);
  }
}

/** An order of the group may come before it is ready: it is obeyed then. */
function isFinalWanted(run: Run): boolean {
  return run.ready && (run.finalRequested || run.order?.order === 'stop');
}

/**
 * The supervisor goes on writing progress while people decide; a wanted final lets go of it at once, and so does a history that
 * has become long. The job goes on by itself.
 */
async function follow(run: Run, until: SuperviseUntil, more: AfterWork = {}): Promise<SuperviseResult['outcome']> {
  const scope = new CancellationScope({ cancellable: true });
  const following = scope
    .run(() => supervise(run, until, more))
    .then(({ outcome }) => {
      lookIfLong(run, limits.historyEventsMax);
      return outcome;
    });
  const letGo = condition(() => isFinalWanted(run) || isLong(run)).then(() => null);
  const first = await Promise.race([following, letGo]);
  if (first !== null) return first;
  scope.cancel();
  await following.catch((error: unknown) => {
    if (!isCancellation(error)) throw error;
  });
  return isFinalWanted(run) ? 'final' : 'detached';
}

async function supervise(run: Run, until: SuperviseUntil, more: AfterWork): Promise<SuperviseResult> {
  const result = await supervisor.superviseReplication({
    ...run.ref,
    ...more,
    until,
    detachAfterSeconds: limits.superviseDetachSeconds,
  });
  if (result.outcome === 'aborted') {
    throw refusal('SOURCE_DISK_CHANGED', result.failure?.message ?? 'A disk of the source VM was changed');
  }
  return result;
}

async function stopAndFreeze(run: Run): Promise<number> {
  return freeze(run, await stopSource(run));
}

/** Returns the token of this final. `more` goes to the activity that does it. */
async function stopSource(run: Run, more: AfterWork = {}, approvedBy?: string): Promise<number> {
  run.finalUnderWay = true;
  run.lastRefusal = null;
  run.reached = 'shutDownGuest';
  const note = phaseNote(run, 'shutDownGuest', { waitingFor: 'the source VM to be powered off' });
  const { facts, token } = await waits.stopSourceVm({ ...run.ref, ...more, approvedBy, note });
  // The rules may have been changed since it was read.
  run.facts = facts;
  return token;
}

async function freeze(run: Run, token: number, more: AfterWork = {}): Promise<number> {
  const note = phaseNote(run, 'freeze', { waitingFor: 'the last bytes and the comparison of both sides' });
  try {
    await finals.freezeReplication({ ...run.ref, ...more, note, token });
    // Whoever was told that it is given up must not find it handed over because the freeze came to its end meanwhile.
    if (CancellationScope.current().consideredCancelled) throw new CancelledFailure('Given up while it was frozen');
    return token;
  } catch (error) {
    await CancellationScope.nonCancellable(() => tireless.unfreezeReplication({ ...run.ref, token }));
    throw error;
  }
}
