// A client that outlives what it talks to: the API, its database and its workflow engine may each be gone for a moment.
// Only what passes is repeated: nobody answers, not available now, still being answered, too many at once. Every other refusal
// stands.

import { RefusedError, type Installation } from '../../demo/harness/installation.ts';
import { followVmMigration } from '../../demo/harness/operations.ts';
import { pause, waitFor } from '../../demo/harness/wait.ts';

const ATTEMPTS_MAX = 120;
const ATTEMPT_EVERY_MS = 500;

/** Repeats a call whose connection was refused or broken, or that met a part which is away, as a good client does. */
export async function retried<Answer>(call: () => Promise<Answer>): Promise<Answer> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await call();
    } catch (error) {
      if (!isPassing(error) || attempt >= ATTEMPTS_MAX) throw error;
      await pause(ATTEMPT_EVERY_MS);
    }
  }
}

function isPassing(error: unknown): boolean {
  if (error instanceof RefusedError) {
    return [429, 503].includes(error.problem.status) || error.problem.code === 'IDEMPOTENCY_KEY_BUSY';
  }
  return error instanceof TypeError || (error instanceof Error && /socket|ECONN|fetch failed/i.test(error.message));
}

/** Waits until `look` finds something, through an API that may be down for a moment. */
export function waitPatiently<Found>(
  what: string,
  look: () => Promise<Found | undefined>,
  options: { readonly timeoutMs: number; readonly intervalMs?: number },
): Promise<Found> {
  return waitFor(what, () => retried(look), options);
}

/** Follows one VM's migration to a status: only an end that is not the wanted one is an error. */
export async function followPatiently(
  installation: Installation,
  id: string,
  wanted: { readonly status: string; readonly timeoutMs: number },
): Promise<void> {
  const { status, timeoutMs } = wanted;
  await retried(() =>
    followVmMigration(installation, id, { reached: (now) => now.status === status, timeoutMs, intervalMs: 300 }),
  );
}
