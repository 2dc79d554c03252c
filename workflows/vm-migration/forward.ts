/**
 * The hand-over and everything after it. Once the destination owns the disks nothing goes back: a step
 * that fails is shown with its reason and tried again until it works.
 */
import { log, sleep } from '@temporalio/workflow';
import type { AfterWork, VmRef } from '../../contracts/activities.ts';
import { limits, type ErrorCode, type PowerOnWait, type Step } from '../../core/index.ts';
import { hasFailureCode, noteOf } from '../../temporal/index.ts';
import { lookIfLong } from '../begin-anew.ts';
import { orderToPowerOn, tellBuilt } from './final-in-group.ts';
import { takeOrder } from './handlers.ts';
import { tireless } from './proxies.ts';
import { giveUpFinal } from './replicate.ts';
import { renewForward } from './renew.ts';
import { report, reportOf } from './report.ts';
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

/**
 * From the step in which it stands: what was done is not repeated on a VM that its owner may use by now. `atEnd` is what the last
 * step says of the whole migration. Returns whether it has said it: it has not while the guest is still waited for.
 */
export async function goForward(run: Run, atEnd: AfterWork): Promise<boolean> {
  const left = forwardFrom(run.step);
  const go = async (row: ForwardStep, more?: AfterWork): Promise<boolean> => {
    if (left.includes(row)) await goStep(run, row, more);
    return left.includes(row);
  };
  const told = await build(run, left);
  const guest = await powerOn(run, told, (more) => go(powerOnStep, more));
  let saysEnd = false;
  for (const row of closingSteps) {
    saysEnd = row === closingSteps.at(-1) && guest.isSettled;
    await go(row, saysEnd ? atEnd : {});
  }
  if (!guest.isSettled) await enter(run, run.step, { waitingFor: 'the guest at the destination to answer' });
  await guest.wait;
  return saysEnd;
}

/** Returns the final whose group was told that this is done, if one was. */
async function build(run: Run, left: readonly ForwardStep[]): Promise<number | undefined> {
  let told: number | undefined;
  for (const row of buildingSteps.filter((step) => left.includes(step))) {
    if (row !== buildingSteps.at(-1)) await goStep(run, row);
    else {
      told = run.order?.finalId;
      await goStep(run, row, { tell: tellBuilt(run) });
    }
  }
  return told;
}

async function goStep(run: Run, row: ForwardStep, more: AfterWork = {}): Promise<void> {
  await persist(run, notedFirst(run, row.step, row.run, more), { between: () => renewForward(run) });
}

/** The first try says that the step begins; later ones leave the trouble shown. */
function notedFirst(
  run: Run,
  step: Step,
  work: (ref: VmRef) => Promise<void>,
  more: AfterWork = {},
): () => Promise<void> {
  const again: VmRef = { ...run.ref, ...more };
  let ref: VmRef = { ...again, note: phaseNote(run, step) };
  return () => {
    const now = ref;
    ref = again;
    return work(now);
  };
}

/** `go` returns whether it was still to be done. Returns what goes on beside the rest: the wait for the guest that was started, if it was. */
async function powerOn(
  run: Run,
  told: number | undefined,
  go: (more?: AfterWork) => Promise<boolean>,
): Promise<GuestWait> {
  if (run.input.inGroup !== true) {
    if (run.onlyByHand || run.facts?.powersOn !== true) return besides(null);
    await go();
    return besides(waitForGuest(run, 'tools'));
  }
  // Nobody is there any more who would give the order.
  if (run.order === null) return besides(null);
  const { order, waitFor = 'nothing', finalId } = await orderToPowerOn(run, told);
  if (order !== 'power-on') return besides(null);
  const poweredOn = { what: 'powered-on', finalId } as const;
  if (!(await go({ tell: reportOf(run, poweredOn) }))) await report(run, poweredOn);
  const up = waitForGuest(run, waitFor);
  return besides(up.then((is) => (is ? report(run, { what: 'guest-up', finalId }) : undefined)));
}

/** In an object, because whoever waits for a promise that gives a promise waits for both. */
interface GuestWait {
  readonly wait: Promise<unknown>;
  isSettled: boolean;
}

function besides(wait: Promise<unknown> | null): GuestWait {
  const guest: GuestWait = { wait: wait ?? Promise.resolve(), isSettled: wait === null };
  void guest.wait.finally(() => {
    guest.isSettled = true;
  });
  return guest;
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
      lookIfLong(run, limits.historyEventsMax);
      await between?.();
      waitSeconds = Math.min(waitSeconds * 2, limits.forwardRetrySecondsMax);
    }
  }
}
