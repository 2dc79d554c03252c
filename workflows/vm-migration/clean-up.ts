/** Removes what an ended migration left behind, by the undo of its steps. Nothing of a completed VM is touched. */
import { proxyActivities } from '@temporalio/workflow';
import type { Leftover, RemovalActivities, VsphereActivities } from '../../contracts/activities.ts';
import { janitorOptions } from '../../temporal/index.ts';

const cleaners = proxyActivities<RemovalActivities & Pick<VsphereActivities, 'deleteTargetDisks'>>(janitorOptions);

export async function cleanUpAfter({ vmMigrationId, completed }: Leftover): Promise<void> {
  const ref = { vmMigrationId };
  await cleaners.releaseSource(ref);
  await cleaners.removeShadowVm(ref);
  if (!completed) await cleaners.deleteTargetDisks(ref);
}
