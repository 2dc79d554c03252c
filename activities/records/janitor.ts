/** What the janitor looks at: records, and whether their workflows run. Finding changes nothing. */
import { getClient } from '@temporalio/activity';
import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import type { JanitorActivities } from '../../contracts/activities.ts';
import type { MigrationKind, Step } from '../../core/index.ts';
import { recordAudit } from '../../db/index.ts';
import { controlTaskQueue, isAlreadyStarted, workflowTypes } from '../../temporal/index.ts';
import type { Services } from '../services.ts';

/** In one round; the next one finds the rest. */
const perRoundMax = 100;
/** What ended or began just now may be between its workflow and its records. */
const settleSeconds = 120;

export function janitorActivities({ database: { prisma } }: Services): JanitorActivities {
  const settledBefore = (): Date => new Date(Date.now() - settleSeconds * 1000);
  return {
    async findOrphans() {
      const rows = await prisma.vmMigration.findMany({
        where: { endedAt: null, step: { not: 'queued' }, updatedAt: { lt: settledBefore() } },
        orderBy: { id: 'asc' },
      });
      const orphans = [];
      for (const row of rows) {
        if (orphans.length >= perRoundMax) break;
        if (await isRunning(getClient(), row.id)) continue;
        orphans.push({ vmMigrationId: row.id, reached: row.step as Step, handedOver: row.handedOverAt !== null });
      }
      return orphans;
    },
    async findStrayMigrations() {
      const rows = await prisma.migration.findMany({
        where: { endedAt: null, status: { not: 'Queued' }, createdAt: { lt: settledBefore() } },
        orderBy: { id: 'asc' },
      });
      const strays = [];
      for (const { id, kind } of rows) {
        if (!(await isRunning(getClient(), id))) strays.push({ migrationId: id, kind: kind as MigrationKind });
      }
      return strays;
    },
    async findLeftovers() {
      const rows = await prisma.vmMigration.findMany({
        where: { endedAt: { not: null, lt: settledBefore() }, ownedObjects: { some: { releasedAt: null } } },
        orderBy: { id: 'asc' },
        take: perRoundMax,
      });
      return rows.map(({ id, status }) => ({ vmMigrationId: id, completed: status === 'Completed' }));
    },
    async adoptOrphan({ vmMigrationId, reached, handedOver }) {
      const { migration } = await prisma.vmMigration.findUniqueOrThrow({
        where: { id: vmMigrationId },
        include: { migration: true },
      });
      const inGroup = migration.kind === 'group';
      const input = { vmMigrationId, parentWorkflowId: migration.id, inGroup, orphan: { reached, handedOver } };
      return startAgain(getClient(), workflowTypes.vmMigration, vmMigrationId, input);
    },
    async restartMigration({ migrationId, kind }) {
      const type = kind === 'group' ? workflowTypes.groupMigration : workflowTypes.independentMigration;
      await startAgain(getClient(), type, migrationId, { migrationId });
    },
    async noteRepair({ targetId, what }) {
      await recordAudit(prisma, {
        principalId: 'janitor',
        action: 'janitor.repair',
        targetKind: targetId.startsWith('mig_') ? 'migration' : 'vm-migration',
        targetId,
        outcome: 'done',
        details: { what },
      });
    },
  };
}

async function isRunning(client: Client, workflowId: string): Promise<boolean> {
  try {
    return (await client.workflow.getHandle(workflowId).describe()).status.name === 'RUNNING';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}

/** Returns false when it runs already: somebody was faster. */
async function startAgain(client: Client, type: string, workflowId: string, input: object): Promise<boolean> {
  try {
    const options = { taskQueue: controlTaskQueue, workflowId, args: [input] };
    await client.workflow.start(type, { ...options, workflowIdReusePolicy: 'ALLOW_DUPLICATE' });
    return true;
  } catch (error) {
    if (isAlreadyStarted(error)) return false;
    throw error;
  }
}
