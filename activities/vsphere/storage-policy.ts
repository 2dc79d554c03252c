/** The replication policy on the source's disks: giving it inserts the tap, taking it away removes the tap. */
import { MigrationError } from '../../core/index.ts';
import {
  claimObject,
  findActiveVmMigration,
  findAgent,
  findCluster,
  releaseByName,
  setFacts,
  type Agent,
} from '../../db/index.ts';
import { isFault, readVm, setDiskPolicy } from '../../vsphere/index.ts';
import { callOptions } from '../call-options.ts';
import { readPlan, type Plan } from '../plan.ts';
import type { Services } from '../services.ts';

export async function attachStoragePolicy(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const { agent, policyId } = await readSourceHost(services, plan);
  const { prisma } = services.database;
  await setFacts(prisma, vmMigrationId, { sourceAgentId: agent.id });
  await claimObject(prisma, attachmentOf(plan));
  const session = await services.session(plan.details.sourceSiteId);
  const keys = plan.disks.map((disk) => disk.deviceKey);
  await setDiskPolicy(session, plan.sourceVm, keys, policyId, callOptions());
}

export async function detachStoragePolicy(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const { prisma } = services.database;
  const { sourceSiteId, vmInstanceUuid } = plan.details;
  const active = await findActiveVmMigration(prisma, sourceSiteId, vmInstanceUuid);
  // What this one left behind long ago is by now under another migration of the same VM: it stays in the book until
  // that one has ended.
  if (active !== null && active.id !== vmMigrationId) return;
  await takePolicyAway(services, plan);
  await releaseByName(prisma, attachmentOf(plan));
}

async function takePolicyAway(services: Services, plan: Plan): Promise<void> {
  const session = await services.session(plan.details.sourceSiteId);
  const keys = plan.disks.map((disk) => disk.deviceKey);
  try {
    await setDiskPolicy(session, plan.sourceVm, keys, undefined, callOptions());
  } catch (error) {
    // The source VM was deleted by its owner: nothing is left to detach from.
    if (!isFault(error, 'ManagedObjectNotFound')) throw error;
  }
}

/** The agent and policy of the host on which the source VM runs now: it may have moved. */
export async function readSourceHost(services: Services, plan: Plan): Promise<{ agent: Agent; policyId: string }> {
  const siteId = plan.details.sourceSiteId;
  const { prisma } = services.database;
  const [session, inventory] = await Promise.all([services.session(siteId), services.inventory(siteId)]);
  const { host } = await readVm(session, plan.sourceVm);
  const agent = host === undefined ? null : await findAgent(prisma, siteId, 'host', host.value);
  const place = inventory.hosts.find(({ ref }) => ref.value === host?.value);
  const cluster = place?.parent === undefined ? null : await findCluster(prisma, siteId, place.parent.value);
  if (cluster?.state !== 'configured' || cluster.policyId === null) {
    throw new MigrationError(
      'CLUSTER_NOT_CONFIGURED',
      `The cluster of ${place?.name ?? 'the source VM'} is not configured`,
    );
  }
  if (agent?.state !== 'enrolled') {
    throw new MigrationError('AGENT_NOT_ENROLLED', `Host ${place?.name ?? host?.value ?? ''} is not enrolled`);
  }
  return { agent, policyId: cluster.policyId };
}

function attachmentOf({ details, disks }: Plan) {
  const name = `${details.vmMoref} ${disks.map((disk) => disk.deviceKey).join(',')}`;
  return { siteId: details.sourceSiteId, vmMigrationId: details.id, kind: 'attachment', name } as const;
}
