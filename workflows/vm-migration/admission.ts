/** Takes and gives back the tokens of a migration that goes by itself; in a group they are the group's business. */
import { condition } from '@temporalio/workflow';
import type { Message } from '../../contracts/activities.ts';
import { itsTurn, limits } from '../../core/index.ts';
import { admissionWorkflowId } from '../../temporal/index.ts';
import { releaseTokens } from '../messages.ts';
import { tell } from '../tell.ts';
import { records } from './proxies.ts';
import { enter, type Run } from './run.ts';

/** Returns when the migration may take what it needs. A claim that was lost is made again. */
export async function waitForAdmission(run: Run): Promise<void> {
  if (run.input.inGroup === true) return;
  for (let said = false; !run.admitted; said = true) {
    const heard = run.claim ?? (await claim(run));
    run.claim = null;
    if (await condition(() => run.admitted, heard ? '2 seconds' : `${limits.claimLostSeconds} seconds`)) return;
    if (!said) await enter(run, run.step, { state: 'Task Queued', waitingFor: itsTurn });
    if (heard) await condition(() => run.admitted, `${limits.claimAgainSeconds} seconds`);
  }
}

/** Reads the migration and claims for it, as things are now: people may have changed its priority. Returns whether it was heard. */
export async function claim(run: Run): Promise<boolean> {
  const { facts, heard } = await records.claimAdmission(run.ref);
  run.facts = facts;
  return heard;
}

/** For an activity that gives them back when it has done its work. */
export function givingBack(run: Run): readonly Message[] {
  if (run.input.inGroup === true) return [];
  return [{ workflowId: admissionWorkflowId, signal: releaseTokens.name, args: [{ id: run.ref.vmMigrationId }] }];
}

export async function giveBack(run: Run): Promise<void> {
  if (run.input.inGroup === true) return;
  run.admitted = false;
  // The next claim is a new one, also when the first was granted before anybody waited for it.
  run.claim = null;
  await tell(admissionWorkflowId, releaseTokens, { id: run.ref.vmMigrationId });
}
