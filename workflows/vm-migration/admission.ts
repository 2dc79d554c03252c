/** Takes and gives back the tokens of a migration that goes by itself; in a group they are the group's business. */
import { condition } from '@temporalio/workflow';
import { limits } from '../../core/index.ts';
import { admissionWorkflowId } from '../../temporal/index.ts';
import { claimTokens, releaseTokens } from '../messages.ts';
import { tell } from '../tell.ts';
import { enter, type Run } from './run.ts';

/** Returns when the migration may take what it needs. A claim that was lost is made again. */
export async function waitForAdmission(run: Run): Promise<void> {
  if (run.input.inGroup === true || run.admitted) return;
  const { facts } = run;
  if (facts === undefined) throw new TypeError('The facts of the migration are not read yet');
  const { needs, priority, migrationId: owner } = facts;
  const id = run.ref.vmMigrationId;
  for (let said = false; !run.admitted; said = true) {
    const heard = await tell(admissionWorkflowId, claimTokens, { id, needs, priority, owner });
    if (await condition(() => run.admitted, heard ? '2 seconds' : `${limits.claimLostSeconds} seconds`)) return;
    if (!said) await enter(run, run.step, { state: 'Task Queued', waitingFor: 'its turn' });
    if (heard) await condition(() => run.admitted, `${limits.claimAgainSeconds} seconds`);
  }
}

export async function giveBack(run: Run): Promise<void> {
  if (run.input.inGroup === true) return;
  run.admitted = false;
  await tell(admissionWorkflowId, releaseTokens, { id: run.ref.vmMigrationId });
}
