/**
 * The hand-over and everything after it. Once the destination owns the disks nothing goes back: a step
 * that fails is shown with its reason and tried again until it works.
 */
import { log, sleep } from '@temporalio/workflow';
import type { VmRef } from '../../contracts/activities.ts';
import { limits, type ErrorCode, type PowerOnWait, type Step } from '../../core/index.ts';
import { hasFailureCode, noteOf } from '../../temporal/index.ts';
import { orderToPowerOn } from './final-in-group.ts';
import { takeOrder } from './handlers.ts';
import { tireless } from './proxies.ts';
import { giveUpFinal } from './replicate.ts';
import { lookIfLong, renewForward } from './renew.ts';
import { report } from './report.ts';
import { enter, phaseNote, type Run } from './run.ts';
import { buildingSteps, closingSteps, forwardFrom, powerOnStep, type ForwardStep } from './steps.ts';

/** What ends a hand-over before anything was handed over. */
const cancelled: readonly ErrorCode[] = ['FREEZE_CANCELLED', 'SOURCE_STORAGE_FAILED'];

/** Returns false when the source was powered on before the hand-over: it stays the owner. */
export async function handOver(run: Run, token: number): Promise<boolean> {
  try {
    await persist(
      run,
      notedFirst(run, 'handOver', (ref) => tireless.handOver({ ...ref, token })),
      {
        except: cancelled,
      },
    );
    return true;
  } catch (error) {
    await tireless.unfreezeReplication({ ...run.ref, token });
    await refuseHandOver(run, error);
    return false;
  }
}

async function refuseHandOver(run: Run, error: unknown): Promise<void> {
  const { order } = run;
  await report(run, { what: 'cannot', finalId: finalOf(run), reason: noteOf(error) });
  if (run.order === order) run.order = null;
  await giveUpFinal(run, error);
  run.handingOver = false;
  // It came meanwhile, of a group that was started anew.
  if (run.order !== null) await takeOrder(run, run.order);
}

/** A group that was started anew meanwhile has ordered the same under another number. */
function finalOf({ order }: Run): number {
  return order?.finalId ?? 0;
}

/** From the step in which it stands: what was done is not repeated on a VM that its owner may use by now. */
export async function goForward(run: Run): Promise<void> {
  const left = forwardFrom(run.step);
  const go = async (row: ForwardStep): Promise<void> => (left.includes(row) ? goStep(run, row) : undefined);
  for (const row of buildingSteps) await go(row);
  const guest = await powerOn(run, () => go(powerOnStep));
  for (const row of closingSteps) await go(row);
  await guest;
}

async function goStep(run: Run, row: ForwardStep): Promise<void> {
  await persist(run, notedFirst(run, row.step, row.run), { between: () => renewForward(run) });
}

/** The first try says that the step begins; later ones leave the trouble shown. */
function notedFirst(run: Run, step: Step, work: (ref: VmRef) => Promise<void>): () => Promise<void> {
  let ref: VmRef = { ...run.ref, note: phaseNote(run, step) };
  return () => {
    const now = ref;
    ref = run.ref;
    return work(now);
  };
}

/** Returns what goes on beside the rest: the wait for the guest that was started, if it was. */
async function powerOn(run: Run, go: () => Promise<void>): Promise<Promise<unknown>> {
  if (run.input.inGroup !== true) {
    if (run.onlyByHand || run.facts?.powersOn !== true) return Promise.resolve();
    await go();
    return waitForGuest(run, 'tools');
  }
  // Nobody is there any more who would give the order.
  if (run.order === null) return Promise.resolve();
  const { order, waitFor = 'nothing', finalId } = await orderToPowerOn(run);
  if (order !== 'power-on') return Promise.resolve();
  await go();
  await report(run, { what: 'powered-on', finalId });
  return waitForGuest(run, waitFor).then((up) => (up ? report(run, { what: 'guest-up', finalId }) : undefined));
}

/** The guest's own report only completes the figures: the migration does not fail for the lack of it. */
async function waitForGuest(run: Run, waitFor: PowerOnWait): Promise<boolean> {
  const until = waitFor === 'address' ? 'address' : 'tools';
  try {
    return await tireless.waitForFinalGuest({ ...run.ref, timeoutSeconds: limits.guestReadyTimeoutSeconds, until });
  } catch (error) {
    log.warn('The migrated guest was not seen', { code: noteOf(error).code });
    return false;
  }
}

interface Persistence {
  /** What is thrown instead of tried again. */
  readonly except?: readonly ErrorCode[];
  /** Done before each further try. */
  readonly between?: () => Promise<void>;
}

/** Tries until it works, and says why it does not. */
export async function persist<T>(run: Run, work: () => Promise<T>, options: Persistence = {}): Promise<T> {
  const { except = [], between } = options;
  let waitSeconds: number = limits.forwardRetrySecondsMin;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (hasFailureCode(error, ...except)) throw error;
      const reason = noteOf(error);
      await enter(run, run.step, { reason, waitingFor: 'another try', needsOperator: true });
      await sleep(waitSeconds * 1000);
      lookIfLong(run);
      await between?.();
      waitSeconds = Math.min(waitSeconds * 2, limits.forwardRetrySecondsMax);
    }
  }
}
