/** Takes and gives back the tokens of a migration that goes by itself; in a group they are the group's business. */
import { condition } from '@temporalio/workflow';
import type { Message } from '../../contracts/activities.ts';
import { itsTurn, limits } from '../../core/index.ts';
import { admissionWorkflowId } from '../../temporal/index.ts';
import { claimTokens, releaseTokens } from '../messages.ts';
import { tell } from '../tell.ts';
import { records } from './proxies.ts';
import { enter, type Run } from './run.ts';

/** Returns when the migration may take what it needs. A claim that was lost is made again. */
export async function waitForAdmission(run: Run): Promise<void> {
  if (run.input.inGroup === true || run.admitted) return;
  const id = run.ref.vmMigrationId;
  for (let said = false; !run.admitted; said = true) {
    // A claim that is made again is made as things are then: people may have changed its priority.
    if (said || run.facts === undefined) run.facts = await records.readVmMigration(run.ref);
    const { needs, priority, migrationId: owner } = run.facts;
    const heard = await tell(admissionWorkflowId, claimTokens, { id, needs, priority, owner });
    if (await condition(() => run.admitted, heard ? '2 seconds' : `${limits.claimLostSeconds} seconds`)) return;
    if (!said) await enter(run, run.step, { state: 'Task Queued', waitingFor: itsTurn });
    if (heard) await condition(() => run.admitted, `${limits.claimAgainSeconds} seconds`);
  }
}

/** For an activity that gives them back when it has done its work. */
export function givingBack(run: Run): readonly Message[] {
  if (run.input.inGroup === true) return [];
  return [{ workflowId: admissionWorkflowId, signal: releaseTokens.name, args: [{ id: run.ref.vmMigrationId }] }];
}

export async function giveBack(run: Run): Promise<void> {
  if (run.input.inGroup === true) return;
  run.admitted = false;
  await tell(admissionWorkflowId, releaseTokens, { id: run.ref.vmMigrationId });
}
