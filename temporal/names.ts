/** Names that workflows, workers and clients must agree on: task queue, workflow ids, workflow types. */

/** All workflows and activities of the management server. */
export const controlTaskQueue = 'control';

export const workflowTypes = {
  vmMigration: 'vmMigration',
  independentMigration: 'independentMigration',
  groupMigration: 'groupMigration',
  admission: 'admission',
  janitor: 'janitor',
  clusterSetup: 'clusterSetup',
} as const;

/** The one workflow that gives out tokens. */
export const admissionWorkflowId = 'admission';

/** The schedule that begins the janitor's rounds; a round's workflow id is this with its time. */
export const janitorScheduleId = 'janitor';

/** The workflow of a cluster's configuration: one at a time per cluster. */
export function clusterSetupWorkflowId(siteId: string, clusterMoref: string): string {
  return `cluster-setup/${siteId}/${clusterMoref}`;
}
