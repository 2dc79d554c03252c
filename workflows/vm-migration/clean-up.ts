/** Removes what an ended migration left behind, by the undo of its steps. Nothing of a completed VM is touched. */
import { proxyActivities } from '@temporalio/workflow';
import type { Leftover, ReplicationActivities, VsphereActivities } from '../../contracts/activities.ts';
import { janitorOptions } from '../../temporal/index.ts';

const cleaners = proxyActivities<VsphereActivities & ReplicationActivities>(janitorOptions);

export async function cleanUpAfter({ vmMigrationId, completed }: Leftover): Promise<void> {
  const ref = { vmMigrationId };
  await cleaners.stopReplication(ref);
  await cleaners.detachStoragePolicy(ref);
  await cleaners.forgetShadowVm(ref);
  await cleaners.destroyShadowVm(ref);
  await cleaners.deleteConfigurationIso(ref);
  if (!completed) await cleaners.deleteTargetDisks(ref);
}
