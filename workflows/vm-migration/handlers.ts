/**
 * Commands of operators: dials by signal, everything else by updates whose validators refuse with a code
 * when the phase does not allow it. A refused command leaves no trace in the history.
 */
import { isCancellation, log, setHandler } from '@temporalio/workflow';
import type {
  CommandAccepted,
  FinalOrder,
  MemberCommand,
  OperatorCommand,
  RetryCommand,
} from '../../contracts/workflows.ts';
import { limits, type Dials } from '../../core/index.ts';
import { noteOf, refusal } from '../../temporal/index.ts';
import { lookIfLong } from '../begin-anew.ts';
import {
  admitted,
  changeSettings,
  finalMigration,
  finalOrder,
  memberCommand,
  pause,
  resume,
  retry,
  shutDownGuest,
  siteResumed,
  terminate,
} from '../messages.ts';
import { refuseLosingData } from './changed-place.ts';
import { commands, handlerNotes } from './proxies.ts';
import { report } from './report.ts';
import type { Run } from './run.ts';

const accepted: CommandAccepted = { accepted: true };

/** What a command does, and when it is refused. */
interface Command {
  readonly refuse: (run: Run) => void;
  readonly carryOut: (run: Run, command: OperatorCommand) => Promise<void> | void;
}

const ending: Command = { refuse: refuseTermination, carryOut: beginTermination };
const shuttingDown: Command = {
  refuse: refuseShutDown,
  carryOut: (run) => commands.requestGuestShutDown(run.ref),
};
const pausing: Command = { refuse: refusePause, carryOut: (run) => setPaused(run, true) };
const resuming: Command = { refuse: refuseResume, carryOut: (run) => setPaused(run, false) };

export function registerHandlers(run: Run): void {
  setHandler(changeSettings, makeDialHandler(run));
  for (const [definition, command] of [
    [finalMigration, { refuse: refuseFinal, carryOut: beginFinal }],
    [terminate, ending],
    [shutDownGuest, shuttingDown],
    [pause, pausing],
    [resume, resuming],
  ] as const) {
    const handler = async (given: OperatorCommand): Promise<CommandAccepted> => {
      await command.carryOut(run, given);
      return accepted;
    };
    setHandler(definition, handler, { validator: (_given: OperatorCommand) => command.refuse(run) });
  }
  setHandler(retry, (given): CommandAccepted => beginRetry(run, given), {
    validator: (given: RetryCommand) => refuseRetry(run, given),
  });
  setHandler(memberCommand, (given) => obeyMigration(run, given));
  setHandler(finalOrder, (order) => takeOrder(run, order));
  setHandler(siteResumed, () => {
    run.siteNews = true;
  });
  setHandler(admitted, () => {
    run.admitted = true;
  });
}

const ofMigration: Readonly<Record<MemberCommand['kind'], Command>> = {
  terminate: ending,
  pause: pausing,
  resume: resuming,
  'shut-down-guest': shuttingDown,
};

/** What the whole migration was told; a member whose phase does not allow it goes on as it was. */
async function obeyMigration(run: Run, given: MemberCommand): Promise<void> {
  const command = ofMigration[given.kind];
  try {
    command.refuse(run);
  } catch {
    log.info('The phase does not allow what the migration was told', { kind: given.kind, step: run.step });
    return;
  }
  await command.carryOut(run, given);
}

/**
 * Orders of one final come in order; one of an earlier final is void. Who has not stopped yet has nothing to go back from, and
 * who has given its final up meanwhile says so to a group that was started anew and does not know.
 */
export async function takeOrder(run: Run, order: FinalOrder): Promise<void> {
  const { finalId } = order;
  if (finalId < (run.order?.finalId ?? 0)) return;
  if (order.order === 'return' && !run.finalUnderWay) {
    run.order = null;
    await report(run, { what: 'returned', finalId });
  } else if (order.order === 'hand-over' && !isInFinal(run)) {
    run.order = null;
    const reason = run.lastRefusal ?? noteOf(refusal('PHASE_DISALLOWS', 'It is not in its final migration any more'));
    await report(run, { what: 'cannot', finalId, reason });
  } else {
    run.order = order;
  }
}

function isInFinal({ input, finalUnderWay, handingOver }: Run): boolean {
  return finalUnderWay || handingOver || input.orphan === true;
}

/** The newest wish wins; while one call is under way the next waits, so that they cannot overtake each other. */
function makeDialHandler(run: Run): (dials: Dials | null) => Promise<void> {
  const wishes: (Dials | null)[] = [];
  let busy = false;
  return async (dials) => {
    wishes.push(dials);
    if (busy) return;
    busy = true;
    while (wishes.length > 0) {
      const newest = wishes.pop() ?? null;
      wishes.length = 0;
      try {
        await commands.changeDials({ ...run.ref, dials: newest });
        lookIfLong(run, limits.historyEventsMax);
      } catch (error) {
        // The supervisor compares wish and truth every second, so a lost call is made good by itself.
        if (isCancellation(error)) break;
        log.warn('The dials could not be changed at once');
      }
    }
    busy = false;
  };
}

async function beginFinal(run: Run, command: OperatorCommand): Promise<void> {
  run.finalRequested = true;
  await handlerNotes.noteApproval({ ...run.ref, approvedBy: command.requestedBy });
  lookIfLong(run, limits.historyEventsMax);
}

function beginTermination(run: Run): void {
  run.terminateRequested = true;
  run.cancel();
}

function beginRetry(run: Run, command: RetryCommand): CommandAccepted {
  run.retryRequested = command;
  return accepted;
}

/** The flag first: what the records say is carried out by the supervisor, the steps look at the flag. */
async function setPaused(run: Run, paused: boolean): Promise<void> {
  run.paused = paused;
  await handlerNotes.notePaused({ ...run.ref, paused });
  lookIfLong(run, limits.historyEventsMax);
}

function refuseFinal(run: Run): void {
  refuseEnded(run);
  if (run.input.inGroup === true) {
    throw refusal('PHASE_DISALLOWS', 'A member of a group is migrated with its group; give the command to that');
  }
  if (run.finalRequested || run.finalUnderWay || run.handingOver) {
    throw refusal('FINAL_UNDER_WAY', 'The final migration was started already');
  }
  refuseTerminating(run);
  if (!run.ready) throw refusal('FINAL_NOT_READY', `Not ready for the final migration yet (step ${run.step})`);
}

function refuseTermination(run: Run): void {
  refuseEnded(run);
  if (run.handingOver) {
    throw refusal('PHASE_DISALLOWS', 'The destination owns the disks already; the migration can only go forward');
  }
  if (run.terminateRequested) throw refusal('PHASE_DISALLOWS', 'The migration is being terminated already');
}

function refuseShutDown(run: Run): void {
  refuseEnded(run);
  const replicating = run.step === 'replicate' || run.step === 'ready';
  if (!replicating || run.finalUnderWay || run.terminateRequested || run.failed !== null) {
    throw refusal('PHASE_DISALLOWS', `The guest cannot be shut down by us in step ${run.step}`);
  }
}

function refusePause(run: Run): void {
  refuseEnded(run);
  refuseTerminating(run);
  if (run.finalUnderWay || run.handingOver) throw refusal('FINAL_UNDER_WAY', 'A final migration cannot be paused');
  if (run.failed !== null) throw refusal('PHASE_DISALLOWS', 'It has failed and stands still already');
  if (run.paused) throw refusal('PHASE_DISALLOWS', 'It is paused already');
}

function refuseResume(run: Run): void {
  refuseEnded(run);
  if (!run.paused) throw refusal('PHASE_DISALLOWS', 'It is not paused');
}

function refuseRetry(run: Run, { change }: RetryCommand): void {
  refuseEnded(run);
  refuseTerminating(run);
  if (run.failed === null || run.retryRequested !== null) {
    throw refusal('PHASE_DISALLOWS', `It has not failed (step ${run.step})`);
  }
  refuseLosingData(run, change);
}

function refuseTerminating(run: Run): void {
  if (run.terminateRequested) throw refusal('PHASE_DISALLOWS', 'The migration is being terminated');
}

function refuseEnded(run: Run): void {
  if (run.ended) throw refusal('ALREADY_ENDED', 'The migration has ended');
}
