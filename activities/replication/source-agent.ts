/** Speaks to the replicator on the source VM's host. Finds the host anew each time: the VM may have moved. */
import { MigrationError, hasCode } from '../../core/index.ts';
import { hasAgentCode, openControlClient, type ControlClient } from '../../dataplane/client/index.ts';
import { getAgent, getVmMigration, setFacts, type Agent } from '../../db/index.ts';
import { readPlan, type Plan } from '../plan.ts';
import type { Services } from '../services.ts';
import { renewIfDue } from './renew-agent.ts';
import { readSourceHost } from '../vsphere/storage-policy.ts';

/** A client of an enrolled agent; the caller closes it. */
export async function openAgent(services: Services, agent: Agent): Promise<ControlClient> {
  const { address, port, spiffeId, name } = agent;
  if (address === null || spiffeId === null) throw new MigrationError('AGENT_NOT_ENROLLED', `${name} is not enrolled`);
  await renewIfDue(services, agent);
  return openControlClient({ authority: services.authority, endpoint: { address, port }, spiffeId });
}

/** The agent of the host where the VM runs now; noted, so that it can be found when the VM is gone. */
export async function findSourceAgent(services: Services, plan: Plan): Promise<Agent> {
  const { prisma } = services.database;
  try {
    const { agent } = await readSourceHost(services, plan);
    if (agent.id !== plan.details.sourceAgentId) {
      await setFacts(prisma, plan.details.id, { sourceAgentId: agent.id });
    }
    return agent;
  } catch (error) {
    const { sourceAgentId } = plan.details;
    if (sourceAgentId !== null && hasCode(error, 'VSPHERE_NOT_FOUND', 'VSPHERE_UNREACHABLE')) {
      return getAgent(prisma, sourceAgentId);
    }
    throw error;
  }
}

/** What a command to the running job carries. */
export interface JobCommand {
  readonly client: ControlClient;
  readonly jobId: string;
  readonly generation: number;
  readonly plan: Plan;
}

/**
 * Gives one command under the newest lease. A supervisor may take a newer lease at any moment, so a command
 * that was refused as stale is given once more under what the records say then.
 */
export async function commandJob<T>(
  services: Services,
  vmMigrationId: string,
  command: (job: JobCommand) => Promise<T>,
): Promise<T> {
  const plan = await readPlan(services, vmMigrationId);
  const client = await openAgent(services, await findSourceAgent(services, plan));
  let generation = plan.details.leaseGeneration;
  try {
    for (;;) {
      try {
        return await command({ client, jobId: vmMigrationId, generation, plan });
      } catch (error) {
        const newest = (await getVmMigration(services.database.prisma, vmMigrationId)).leaseGeneration;
        if (!hasCode(error, 'STALE_GENERATION') || newest === generation) throw error;
        generation = newest;
      }
    }
  } finally {
    await client.close();
  }
}

/** The agent knows nothing of this job: it was never begun there, or it has ended. */
export function isUnknownJob(error: unknown): boolean {
  return hasAgentCode(error, 'UNKNOWN_JOB', 'UNKNOWN_VM', 'NOT_FOUND');
}
