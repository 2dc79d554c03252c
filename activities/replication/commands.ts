/** Commands to a job that runs: its dials, and its end. */
import { hasCode, type Dials } from '../../core/index.ts';
import { getVmMigration, setDesiredDials, setDialsInForce } from '../../db/index.ts';
import { readPlan } from '../plan.ts';
import type { Services } from '../services.ts';
import { normalDials } from './progress.ts';
import { commandJob, isUnknownJob } from './source-agent.ts';

/** The wish is kept first: a job that does not run yet begins with it. */
export async function changeDials(services: Services, vmMigrationId: string, dials: Dials | null): Promise<void> {
  const { prisma } = services.database;
  await setDesiredDials(prisma, vmMigrationId, dials);
  const { step, leaseGeneration } = await getVmMigration(prisma, vmMigrationId);
  if (leaseGeneration === 0 || (step !== 'replicate' && step !== 'ready')) return;
  try {
    await commandJob(services, vmMigrationId, async ({ client, jobId, generation, plan }) => {
      const inForce = await client.setDials(jobId, generation, plan.dials);
      await setDialsInForce(prisma, vmMigrationId, normalDials(inForce));
    });
  } catch (error) {
    if (!isUnknownJob(error)) throw error;
  }
}

/** Ends the job at the source. Nothing to do where none was begun. */
export async function stopReplication(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  if (plan.details.leaseGeneration === 0) return;
  try {
    await commandJob(services, vmMigrationId, ({ client, jobId, generation }) => client.deleteJob(jobId, generation));
  } catch (error) {
    if (!isUnknownJob(error) && !hasCode(error, 'VSPHERE_NOT_FOUND')) throw error;
  }
}
