/**
 * When and with what a VM's migration begins with an empty history. Safe are two places: while it replicates, because the job goes
 * on by itself, and between two tries of a step that can only go forward, because that step may be done again.
 */
import { allHandlersFinished, condition } from '@temporalio/workflow';
import type { VmMigrationCarry, VmMigrationInput } from '../../contracts/workflows.ts';
import { beginAnew } from '../begin-anew.ts';
import type { Run } from './run.ts';

/** One that is being terminated ends soon: it goes on as it is. */
export function isLong(run: Run): boolean {
  return !run.terminateRequested && run.long;
}

/** While it replicates. Returns when there is no need, or when meanwhile a person has begun something that must not be lost. */
export async function renewRun(run: Run): Promise<void> {
  if (!isLong(run)) return;
  await condition(allHandlersFinished);
  if (!isLong(run) || run.finalRequested) return;
  await beginAnew<(input: VmMigrationInput) => Promise<unknown>>({ ...run.input, carry: carryOf(run) });
}

/** After the hand-over. What goes on is what an adopted migration does as well. */
export async function renewForward(run: Run): Promise<void> {
  if (!isLong(run)) return;
  await condition(allHandlersFinished);
  await beginAnew<(input: VmMigrationInput) => Promise<unknown>>({
    ...run.input,
    orphan: true,
    carry: carryOf(run),
  });
}

function carryOf({ reached, onlyByHand, paused, order, lastRefusal }: Run): VmMigrationCarry {
  return { version: 3, reached, onlyByHand, paused, order, lastRefusal };
}
