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
import { beginAnew, lookIfLong } from './begin-anew.ts';
import { countEnds, endUnbegun } from './members.ts';
import { changeQueue, memberCommand, memberReport, pause, resume, terminate } from './messages.ts';
import { tell } from './tell.ts';
import { vmMigration } from './vm-migration/index.ts';
import { handlerNotes } from './vm-migration/proxies.ts';

const records = proxyLocalActivities<RecordsActivities>(recordsOptions);

interface State {
  readonly migrationId: string;
  queue: Queue;
  readonly running: Set<string>;
  /** Members that failed and stand still until somebody decides: they make room for the next. */
  readonly failed: Set<string>;
  readonly ended: Map<string, Status>;
  terminated: OperatorCommand | null;
  /** What all members were told last. */
  said: MemberCommand | null;
  /** The records have been read. */
  opened: boolean;
  /** Members that were taken out and have to be said ended, and by whom. */
  readonly dropped: Map<string, OperatorCommand>;
  toNote: boolean;
  /** Its history was long when it was looked at last. */
  long: boolean;
}

export async function independentMigration(input: IndependentMigrationInput): Promise<MigrationResult> {
  const state = await open(input);
  upsertSearchAttributes([{ key: migGroup, value: input.migrationId }]);
  for (;;) {
    await step(state);
    // What was accepted is carried out first.
    if (isOver(state)) await condition(allHandlersFinished);
    if (isOver(state)) return countEnds([...state.ended.values()]);
    if (state.long) await renew(state);
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
    said: null,
    opened: carry !== undefined,
    dropped: new Map(),
    toNote: carry?.toNote ?? false,
    long: false,
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
        change(state, { change: { kind }, ...command });
        await passOn(state, { ...command, kind });
        return { accepted: true };
      },
      { validator: (_command: OperatorCommand) => refuseSame(state, kind === 'pause') },
    );
  }
  setHandler(
    changeQueue,
    async (command): Promise<CommandAccepted> => {
      await condition(() => state.opened);
      change(state, command);
      return { accepted: true };
    },
    { validator: (command: QueueCommand) => refuseChange(state, command) },
  );
}

function change(state: State, { requestedBy, change: wanted }: QueueCommand): void {
  state.queue = changed(state.queue, wanted, (id) => hasBegun(state, id));
  if (wanted.kind === 'remove') state.dropped.set(wanted.id, { requestedBy });
  state.toNote = true;
}

/** Or was taken out before it could: it must not come in again by an addition that is told twice. */
function hasBegun({ running, failed, ended, dropped }: State, id: string): boolean {
  return running.has(id) || failed.has(id) || ended.has(id) || dropped.has(id);
}

/** Also to those that wait: after it was started again itself, the queue does not know who of them runs. */
async function passOn(state: State, command: MemberCommand): Promise<void> {
  state.said = command;
  const { running, failed, queue } = state;
  await Promise.all([...running, ...failed, ...queue.waiting].map((id) => tell(id, memberCommand, command)));
}

function hasWork(state: State): boolean {
  return state.toNote || hasMembersToMove(state);
}

function hasMembersToMove(state: State): boolean {
  const { queue, terminated, dropped } = state;
  if (dropped.size > 0) return true;
  return terminated === null ? nextOf(state) !== undefined : queue.waiting.length > 0;
}

/** The member that begins now, if one does. */
function nextOf({ queue, running, terminated }: State): string | undefined {
  return terminated === null ? startable(queue, running.size)[0] : undefined;
}

function isOver({ queue, running, failed, dropped, toNote }: State): boolean {
  return queue.waiting.length === 0 && running.size === 0 && failed.size === 0 && dropped.size === 0 && !toNote;
}

/** Does everything that is to be done now. Each turn looks anew: people change the queue while a member is being started. */
async function step(state: State): Promise<void> {
  for (;;) {
    await drop(state);
    const next = nextOf(state);
    if (next === undefined) break;
    await startMember(state, next);
  }
  if (state.toNote) {
    state.toNote = false;
    await handlerNotes.noteQueue({ migrationId: state.migrationId, queue: state.queue });
    lookIfLong(state, limits.migrationEventsMax);
  }
  setCurrentDetails(
    `${state.running.size} run, ${state.queue.waiting.length} wait, ${state.failed.size} have failed, ${state.ended.size} have ended.`,
  );
}

async function drop(state: State): Promise<void> {
  const { dropped, terminated } = state;
  if (terminated !== null) {
    for (const id of state.queue.waiting) dropped.set(id, terminated);
    state.queue = { ...state.queue, waiting: [], held: [] };
  }
  for (const [id, status] of await endUnbegun([...dropped])) {
    dropped.delete(id);
    if (status !== null) noteEnd(state, id, status);
    else if (!state.ended.has(id)) state.running.add(id);
  }
}

/** The member outlives this workflow; its end comes by signal, and by its result in case nobody sent one. */
async function startMember(state: State, vmMigrationId: string): Promise<void> {
  const { said } = state;
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
  // What was said meanwhile may have come too early for it.
  else if (state.said !== null && state.said !== said) await tell(vmMigrationId, memberCommand, state.said);
}

/** A member that failed makes room for the next; when it is retried it runs beside the others. */
function hear(state: State, { vmMigrationId, news }: MemberReport): void {
  lookIfLong(state, limits.migrationEventsMax);
  if (state.queue.waiting.includes(vmMigrationId)) {
    // Started before this queue was started again itself.
    state.queue = without(state.queue, vmMigrationId);
    state.running.add(vmMigrationId);
  }
  if (news.what === 'ended') noteEnd(state, vmMigrationId, news.status);
  if (news.what === 'failed' && state.running.delete(vmMigrationId)) state.failed.add(vmMigrationId);
  if (news.what === 'retrying' && state.failed.delete(vmMigrationId)) state.running.add(vmMigrationId);
}

function noteEnd(state: State, vmMigrationId: string, status: Status): void {
  if (!state.ended.has(vmMigrationId)) state.ended.set(vmMigrationId, status);
  state.running.delete(vmMigrationId);
  state.failed.delete(vmMigrationId);
}

/** Not before everything that was accepted is carried out: what is left to do is done first. A note can be written by the next run. */
async function renew(state: State): Promise<void> {
  await condition(allHandlersFinished);
  if (hasMembersToMove(state) || isOver(state)) return;
  const { migrationId, queue, running, failed, ended, terminated, toNote } = state;
  await beginAnew<typeof independentMigration>({
    migrationId,
    carry: { version: 2, queue, running: [...running], failed: [...failed], ended: [...ended], terminated, toNote },
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

/** An addition is never too early: it waits until the records were read. */
function refuseChange(state: State, { change: wanted }: QueueCommand): void {
  if (!state.opened && wanted.kind === 'add') return;
  refuseTerminated(state);
  try {
    changed(state.queue, wanted);
  } catch (error) {
    if (isMigrationError(error)) throw refusal(error.code, error.safeMessage);
    throw error;
  }
}
