/**
 * A queue of VMs that are migrated one after another. A member that fails or is terminated moves the queue
 * on. Members run by themselves: this workflow starts each in turn and hears how it ended.
 */
import {
  CancellationScope,
  ParentClosePolicy,
  condition,
  getExternalWorkflowHandle,
  log,
  proxyActivities,
  setCurrentDetails,
  setHandler,
  startChild,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import type { RecordsActivities } from '../contracts/activities.ts';
import type { IndependentMigrationInput, IndependentMigrationResult, OperatorCommand } from '../contracts/workflows.ts';
import { errorCodes, limits, type Status } from '../core/index.ts';
import { isAlreadyStarted, migGroup, recordsOptions, refusal } from '../temporal/index.ts';
import { memberEnded, terminate, terminateMember } from './messages.ts';
import { vmMigration } from './vm-migration/index.ts';

const records = proxyActivities<RecordsActivities>(recordsOptions);

interface Queue {
  readonly ended: Map<string, Status>;
  readonly running: Set<string>;
  terminated: OperatorCommand | null;
}

export async function independentMigration(input: IndependentMigrationInput): Promise<IndependentMigrationResult> {
  const queue: Queue = { ended: new Map(), running: new Set(), terminated: null };
  registerHandlers(queue);
  upsertSearchAttributes([{ key: migGroup, value: input.migrationId }]);
  const members = await records.listQueue(input);
  for (const [index, vmMigrationId] of members.entries()) {
    setCurrentDetails(`Member ${index + 1} of ${members.length}: \`${vmMigrationId}\``);
    await condition(() => queue.running.size < limits.independentConcurrency);
    if (queue.terminated === null) await startMember(queue, input.migrationId, vmMigrationId);
    else await dropMember(queue, vmMigrationId);
  }
  await condition(() => queue.running.size === 0);
  return count([...queue.ended.values()]);
}

function registerHandlers(queue: Queue): void {
  setHandler(memberEnded, ({ vmMigrationId, status }) => noteEnd(queue, vmMigrationId, status));
  setHandler(
    terminate,
    async (command: OperatorCommand) => {
      queue.terminated = command;
      for (const vmMigrationId of queue.running) await terminateOne(vmMigrationId, command);
      return { accepted: true as const };
    },
    {
      validator: (_command: OperatorCommand) => {
        if (queue.terminated !== null) throw refusal('PHASE_DISALLOWS', 'The migration is being terminated already');
      },
    },
  );
}

async function terminateOne(vmMigrationId: string, command: OperatorCommand): Promise<void> {
  try {
    await getExternalWorkflowHandle(vmMigrationId).signal(terminateMember, command);
  } catch {
    log.info('The member has ended by itself', { vmMigrationId });
  }
}

/** The member outlives this workflow; its end comes by signal, and by its result in case nobody sent one. */
async function startMember(queue: Queue, migrationId: string, vmMigrationId: string): Promise<void> {
  queue.running.add(vmMigrationId);
  try {
    const child = await startChild(vmMigration, {
      workflowId: vmMigrationId,
      args: [{ vmMigrationId, parentWorkflowId: migrationId }],
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `Migration of one VM, ${vmMigrationId}`,
    });
    void child.result().then(
      (result) => noteEnd(queue, vmMigrationId, result.status),
      () => noteEnd(queue, vmMigrationId, 'Failed'),
    );
  } catch (error) {
    // Started by an earlier run of this queue: its signal comes here all the same.
    if (!isAlreadyStarted(error)) throw error;
  }
}

/** A member that never began ends without anything to undo. */
async function dropMember(queue: Queue, vmMigrationId: string): Promise<void> {
  const { title, remedy } = errorCodes.TERMINATED;
  await CancellationScope.nonCancellable(() =>
    records.notePhase({
      vmMigrationId,
      step: 'ended',
      state: 'Terminated',
      reason: { code: 'TERMINATED', message: `${title}. ${remedy}` },
    }),
  );
  noteEnd(queue, vmMigrationId, 'Terminated');
}

function noteEnd(queue: Queue, vmMigrationId: string, status: Status): void {
  if (!queue.ended.has(vmMigrationId)) queue.ended.set(vmMigrationId, status);
  queue.running.delete(vmMigrationId);
}

function count(statuses: readonly Status[]): IndependentMigrationResult {
  const of = (...wanted: readonly Status[]): number => statuses.filter((status) => wanted.includes(status)).length;
  return { completed: of('Completed'), failed: of('Failed', 'Aborted'), terminated: of('Terminated') };
}
