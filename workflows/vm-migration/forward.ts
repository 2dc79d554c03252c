/**
 * The hand-over and everything after it. Once the destination owns the disks nothing goes back: a step
 * that fails is shown with its reason and tried again until it works.
 */
import { log, sleep } from '@temporalio/workflow';
import { limits, type ErrorCode } from '../../core/index.ts';
import { hasFailureCode, noteOf } from '../../temporal/index.ts';
import { tireless } from './proxies.ts';
import { giveUpFinal } from './replicate.ts';
import { enter, type Run } from './run.ts';
import { forwardSteps } from './steps.ts';

/** What ends a hand-over before anything was handed over. */
const cancelled: readonly ErrorCode[] = ['FREEZE_CANCELLED', 'SOURCE_STORAGE_FAILED'];

/** Returns false when the source was powered on before the hand-over: it stays the owner. */
export async function handOver(run: Run, token: number): Promise<boolean> {
  const noted = enter(run, 'handOver');
  try {
    await persist(run, () => tireless.handOver({ ...run.ref, token }), cancelled);
    await noted;
    return true;
  } catch (error) {
    await noted;
    await tireless.unfreezeReplication({ ...run.ref, token });
    giveUpFinal(run, error);
    return false;
  }
}

export async function goForward(run: Run): Promise<void> {
  const powerOn = run.autoFinal;
  let guest: Promise<unknown> = Promise.resolve();
  for (const row of forwardSteps) {
    if (row.onlyWithPowerOn === true && !powerOn) continue;
    // The guest stands still: the note for people must not cost it time.
    await Promise.all([enter(run, row.step), persist(run, () => row.run(run.ref))]);
    if (row.step === 'powerOn') guest = waitForGuest(run);
  }
  await guest;
}

/** The guest's own report only completes the figures: the migration does not fail for the lack of it. */
async function waitForGuest(run: Run): Promise<void> {
  try {
    await tireless.waitForFinalGuest({ ...run.ref, timeoutSeconds: limits.guestReadyTimeoutSeconds });
  } catch (error) {
    log.warn('The migrated guest was not seen', { code: noteOf(error).code });
  }
}

async function persist(run: Run, work: () => Promise<void>, except: readonly ErrorCode[] = []): Promise<void> {
  let waitSeconds: number = limits.forwardRetrySecondsMin;
  for (;;) {
    try {
      await work();
      return;
    } catch (error) {
      if (hasFailureCode(error, ...except)) throw error;
      const reason = noteOf(error);
      await enter(run, run.step, { reason, waitingFor: `another try: ${reason.message}` });
      await sleep(waitSeconds * 1000);
      waitSeconds = Math.min(waitSeconds * 2, limits.forwardRetrySecondsMax);
    }
  }
}
