/** What the janitor looks at: records, and whether their workflows run. Finding changes nothing. */
import { getClient } from '@temporalio/activity';
import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import type { JanitorActivities } from '../../contracts/activities.ts';
import type { MigrationKind } from '../../core/index.ts';
import { listLeftovers, recordAudit } from '../../db/index.ts';
import { controlTaskQueue, isAlreadyStarted, workflowTypes } from '../../temporal/index.ts';
import type { Services } from '../services.ts';

/** In one round; the next one finds the rest. */
const perRoundMax = 100;
/** Activities of a workflow that was ended hear of it at their next heartbeat: nothing is undone while they may still act. */
const settleMs = 30_000;
/** Asked of the engine at once. */
const looksMax = 16;

export function janitorActivities({ database: { prisma } }: Services): JanitorActivities {
  return {
    async findOrphans() {
      const client = getClient();
      const running = await runningIds(client, workflowTypes.vmMigration);
      const rows = await prisma.vmMigration.findMany({
        where: { endedAt: null },
        orderBy: { id: 'asc' },
        select: { id: true, step: true },
      });
      const suspects = rows.filter(({ id }) => !running.has(id));
      const found = await filterLost(client, suspects, ({ step }) => step !== 'queued');
      return found.slice(0, perRoundMax).map(({ id }) => ({ vmMigrationId: id }));
    },
    async findStrayMigrations() {
      const rows = await prisma.migration.findMany({
        where: { endedAt: null },
        orderBy: { id: 'asc' },
        select: { id: true, kind: true, startedAt: true },
      });
      const found = await filterLost(getClient(), rows, ({ startedAt }) => startedAt !== null);
      // One that has come to its end by itself waits only for the records of an orphan.
      return found.slice(0, perRoundMax).map(({ id, kind }) => ({ migrationId: id, kind: kind as MigrationKind }));
    },
    async findLeftovers() {
      const rows = await listLeftovers(prisma, { endedBefore: new Date(Date.now() - settleMs), limit: perRoundMax });
      return rows.map(({ id, status }) => ({ vmMigrationId: id, completed: status === 'Completed' }));
    },
    async adoptOrphan({ vmMigrationId }) {
      const { endedAt, migration } = await prisma.vmMigration.findUniqueOrThrow({
        where: { id: vmMigrationId },
        include: { migration: true },
      });
      if (endedAt !== null) return false;
      const input = {
        vmMigrationId,
        parentWorkflowId: migration.id,
        inGroup: migration.kind === 'group',
        orphan: true,
      };
      return startAgain(getClient(), workflowTypes.vmMigration, vmMigrationId, input);
    },
    async restartMigration({ migrationId, kind }) {
      const type = kind === 'group' ? workflowTypes.groupMigration : workflowTypes.independentMigration;
      const input = { migrationId, ...(kind === 'group' ? { restarted: true } : {}) };
      return startAgain(getClient(), type, migrationId, input);
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

/** By the engine's index, which may be moments behind: whoever is not in it is looked at by itself. */
async function runningIds(client: Client, type: string): Promise<ReadonlySet<string>> {
  const ids = new Set<string>();
  const query = `WorkflowType = '${type}' AND ExecutionStatus = 'Running'`;
  for await (const { workflowId } of client.workflow.list({ query })) ids.add(workflowId);
  return ids;
}

/**
 * Those whose workflow was ended some time ago though their records have not: ended ones say so before their workflow
 * does. One that the engine does not know was never started, unless `hasBegun`.
 */
async function filterLost<Row extends { readonly id: string }>(
  client: Client,
  rows: readonly Row[],
  hasBegun: (row: Row) => boolean,
): Promise<readonly Row[]> {
  const lost: Row[] = [];
  for (let at = 0; at < rows.length; at += looksMax) {
    const some = rows.slice(at, at + looksMax);
    const looks = await Promise.all(some.map(({ id }) => look(client, id)));
    lost.push(
      ...some.filter((row, index) => looks[index] === 'ended' || (looks[index] === 'unknown' && hasBegun(row))),
    );
  }
  return lost;
}

/** `ending`: it runs, or ended so lately that its activities may not know. */
async function look(client: Client, workflowId: string): Promise<'ending' | 'ended' | 'unknown'> {
  try {
    const { status, closeTime } = await client.workflow.getHandle(workflowId).describe();
    if (status.name === 'RUNNING' || closeTime === undefined) return 'ending';
    return closeTime.getTime() < Date.now() - settleMs ? 'ended' : 'ending';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 'unknown';
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
