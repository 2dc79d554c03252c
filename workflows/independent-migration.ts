/**
 * A queue of VMs that are migrated one after another, or so many at once. A member that fails or is terminated
 * moves the queue on. Members run by themselves: this workflow starts each in turn and hears how it goes. What
 * people change in the queue is judged by core.
 */
import {
  ParentClosePolicy,
  allHandlersFinished,
  condition,
  setCurrentDetails,
  setHandler,
  startChild,
  WorkflowIdReusePolicy,
  upsertSearchAttributes,
  proxyLocalActivities,
} from '@temporalio/workflow';
import type { RecordsActivities } from '../contracts/activities.ts';
import type {
  CommandAccepted,
  IndependentMigrationInput,
  MemberCommand,
  MemberReport,
  MigrationResult,
  OperatorCommand,
  QueueCommand,
} from '../contracts/workflows.ts';
import {
  changeQueue as changed,
  isMigrationError,
  limits,
  startable,
  without,
  type Queue,
  type Status,
} from '../core/index.ts';
import { isAlreadyStarted, migGroup, recordsOptions, refusal } from '../temporal/index.ts';
import { beginAnew, shouldBeginAnew } from './begin-anew.ts';
import { countEnds, endAsTerminated } from './members.ts';
import { changeQueue, memberCommand, memberReport, pause, resume, terminate } from './messages.ts';
import { tell } from './tell.ts';
import { vmMigration } from './vm-migration/index.ts';

const records = proxyLocalActivities<RecordsActivities>(recordsOptions);

interface State {
  readonly migrationId: string;
  queue: Queue;
  readonly running: Set<string>;
  /** Members that failed and stand still until somebody decides: they make room for the next. */
  readonly failed: Set<string>;
  readonly ended: Map<string, Status>;
  terminated: OperatorCommand | null;
  /** The records have been read. */
  opened: boolean;
  /** Members that were taken out and have to be said ended. */
  readonly dropped: string[];
  toNote: boolean;
}

export async function independentMigration(input: IndependentMigrationInput): Promise<MigrationResult> {
  const state = await open(input);
  upsertSearchAttributes([{ key: migGroup, value: input.migrationId }]);
  for (;;) {
    await step(state);
    if (isOver(state)) return countEnds([...state.ended.values()]);
    if (shouldBeginAnew(limits.migrationEventsMax)) await renew(state);
    await condition(() => hasWork(state) || isOver(state));
  }
}

async function open({ migrationId, carry }: IndependentMigrationInput): Promise<State> {
  const state: State = {
    migrationId,
    queue: carry?.queue ?? { waiting: [], held: [], paused: false, concurrency: limits.independentConcurrency },
    running: new Set(carry?.running),
    failed: new Set(carry?.failed),
    ended: new Map(carry?.ended),
    terminated: carry?.terminated ?? null,
    opened: carry !== undefined,
    dropped: [],
    toNote: false,
  };
  registerHandlers(state);
  if (!state.opened) {
    const { failed, ...queue } = await records.readQueue({ migrationId });
    state.queue = queue;
    for (const id of failed) state.failed.add(id);
  }
  state.opened = true;
  return state;
}

function registerHandlers(state: State): void {
  setHandler(memberReport, (report) => hear(state, report));
  setHandler(
    terminate,
    async (command: OperatorCommand): Promise<CommandAccepted> => {
      state.terminated = command;
      await passOn(state, { ...command, kind: 'terminate' });
      return { accepted: true };
    },
    { validator: (_command: OperatorCommand) => refuseTerminated(state) },
  );
  for (const [definition, kind] of [
    [pause, 'pause'],
    [resume, 'resume'],
  ] as const) {
    setHandler(
      definition,
      async (command: OperatorCommand): Promise<CommandAccepted> => {
        change(state, { kind });
        await passOn(state, { ...command, kind });
        return { accepted: true };
      },
      { validator: (_command: OperatorCommand) => refuseSame(state, kind === 'pause') },
    );
  }
  setHandler(
    changeQueue,
    (command): CommandAccepted => {
      change(state, command.change);
      return { accepted: true };
    },
    { validator: (command: QueueCommand) => refuseChange(state, command) },
  );
}

function change(state: State, wanted: QueueCommand['change']): void {
  state.queue = changed(state.queue, wanted, (id) => hasBegun(state, id));
  if (wanted.kind === 'remove') state.dropped.push(wanted.id);
  state.toNote = true;
}

/** Or was taken out before it could: it must not come in again by an addition that is told twice. */
function hasBegun({ running, failed, ended, dropped }: State, id: string): boolean {
  return running.has(id) || failed.has(id) || ended.has(id) || dropped.includes(id);
}

async function passOn(state: State, command: MemberCommand): Promise<void> {
  await Promise.all([...state.running, ...state.failed].map((id) => tell(id, memberCommand, command)));
}

function hasWork(state: State): boolean {
  const { queue, terminated, running } = state;
  if (state.toNote || state.dropped.length > 0) return true;
  return terminated === null ? startable(queue, running.size).length > 0 : queue.waiting.length > 0;
}

function isOver({ queue, running, failed, dropped, toNote }: State): boolean {
  return queue.waiting.length === 0 && running.size === 0 && failed.size === 0 && dropped.length === 0 && !toNote;
}

/** Does everything that is to be done now. */
async function step(state: State): Promise<void> {
  if (state.terminated !== null) {
    state.dropped.push(...state.queue.waiting);
    state.queue = { ...state.queue, waiting: [], held: [] };
  }
  for (let id = state.dropped.shift(); id !== undefined; id = state.dropped.shift()) {
    await endAsTerminated(id);
    state.ended.set(id, 'Terminated');
  }
  for (const id of startable(state.queue, state.running.size)) await startMember(state, id);
  if (state.toNote) {
    state.toNote = false;
    await records.noteQueue({ migrationId: state.migrationId, queue: state.queue });
  }
  setCurrentDetails(
    `${state.running.size} run, ${state.queue.waiting.length} wait, ${state.failed.size} have failed, ${state.ended.size} have ended.`,
  );
}

/** The member outlives this workflow; its end comes by signal, and by its result in case nobody sent one. */
async function startMember(state: State, vmMigrationId: string): Promise<void> {
  state.queue = without(state.queue, vmMigrationId);
  state.running.add(vmMigrationId);
  try {
    const child = await startChild(vmMigration, {
      workflowId: vmMigrationId,
      args: [{ vmMigrationId, parentWorkflowId: state.migrationId }],
      parentClosePolicy: ParentClosePolicy.ABANDON,
      // One that was ended from outside is the janitor's business: it would begin from nothing here.
      workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
      staticSummary: `Migration of one VM, ${vmMigrationId}`,
    });
    void child.result().then(
      ({ status }) => noteEnd(state, vmMigrationId, status),
      () => noteEnd(state, vmMigrationId, 'Failed'),
    );
  } catch (error) {
    // It was started before, by an earlier run of this queue: its signal comes here all the same.
    if (!isAlreadyStarted(error)) throw error;
  }
  // Heard before it was known to run.
  if (state.ended.has(vmMigrationId)) state.running.delete(vmMigrationId);
}

/** A member that failed makes room for the next; when it is retried it runs beside the others. */
function hear(state: State, { vmMigrationId, news }: MemberReport): void {
  if (news.what === 'ended') noteEnd(state, vmMigrationId, news.status);
  if (news.what === 'failed' && state.running.delete(vmMigrationId)) state.failed.add(vmMigrationId);
  if (news.what === 'retrying' && state.failed.delete(vmMigrationId)) state.running.add(vmMigrationId);
}

function noteEnd(state: State, vmMigrationId: string, status: Status): void {
  if (!state.ended.has(vmMigrationId)) state.ended.set(vmMigrationId, status);
  state.running.delete(vmMigrationId);
  state.failed.delete(vmMigrationId);
}

/** Not before everything that was accepted is carried out: what is left to do is done first. */
async function renew(state: State): Promise<void> {
  await condition(allHandlersFinished);
  if (hasWork(state) || isOver(state)) return;
  const { migrationId, queue, running, failed, ended, terminated } = state;
  await beginAnew<typeof independentMigration>({
    migrationId,
    carry: { version: 1, queue, running: [...running], failed: [...failed], ended: [...ended], terminated },
  });
}

function refuseTerminated({ terminated, opened }: State): void {
  if (!opened) throw refusal('PHASE_DISALLOWS', 'The migration is just being started; try again in a moment');
  if (terminated !== null) throw refusal('PHASE_DISALLOWS', 'The migration is being terminated already');
}

function refuseSame(state: State, paused: boolean): void {
  refuseTerminated(state);
  if (state.queue.paused === paused) {
    throw refusal('PHASE_DISALLOWS', paused ? 'It is paused already' : 'It is not paused');
  }
}

function refuseChange(state: State, { change: wanted }: QueueCommand): void {
  refuseTerminated(state);
  try {
    changed(state.queue, wanted);
  } catch (error) {
    if (isMigrationError(error)) throw refusal(error.code, error.safeMessage);
    throw error;
  }
}
