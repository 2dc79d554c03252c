/**
 * Commands of operators: dials by signal, everything else by updates whose validators refuse with a code
 * when the phase does not allow it. A refused command leaves no trace in the history.
 */
import { isCancellation, log, setHandler } from '@temporalio/workflow';
import type { CommandAccepted, OperatorCommand } from '../../contracts/workflows.ts';
import type { Dials } from '../../core/index.ts';
import { refusal } from '../../temporal/index.ts';
import { changeSettings, finalMigration, shutDownGuest, terminate, terminateMember } from '../messages.ts';
import { commands, records } from './proxies.ts';
import type { Run } from './run.ts';

const accepted: CommandAccepted = { accepted: true };

export function registerHandlers(run: Run): void {
  setHandler(changeSettings, makeDialHandler(run));
  setHandler(
    finalMigration,
    async (command: OperatorCommand) => {
      run.finalRequested = true;
      await records.noteApproval({ ...run.ref, approvedBy: command.requestedBy });
      return accepted;
    },
    { validator: (_command: OperatorCommand) => refuseFinal(run) },
  );
  setHandler(terminate, (_command: OperatorCommand) => beginTermination(run), {
    validator: (_command: OperatorCommand) => refuseTermination(run),
  });
  setHandler(terminateMember, (_command: OperatorCommand) => {
    if (!run.ended && !run.handingOver && !run.terminateRequested) beginTermination(run);
  });
  setHandler(
    shutDownGuest,
    async (_command: OperatorCommand) => {
      await commands.requestGuestShutDown(run.ref);
      return accepted;
    },
    { validator: (_command: OperatorCommand) => refuseShutDown(run) },
  );
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
      } catch (error) {
        // The supervisor compares wish and truth every second, so a lost call is made good by itself.
        if (isCancellation(error)) break;
        log.warn('The dials could not be changed at once');
      }
    }
    busy = false;
  };
}

function beginTermination(run: Run): CommandAccepted {
  run.terminateRequested = true;
  run.cancel();
  return accepted;
}

function refuseFinal(run: Run): void {
  refuseEnded(run);
  if (run.finalRequested || run.finalUnderWay || run.handingOver) {
    throw refusal('FINAL_UNDER_WAY', 'The final migration was started already');
  }
  if (run.terminateRequested) throw refusal('PHASE_DISALLOWS', 'The migration is being terminated');
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
  if (!replicating || run.finalUnderWay || run.terminateRequested) {
    throw refusal('PHASE_DISALLOWS', `The guest cannot be shut down by us in step ${run.step}`);
  }
}

function refuseEnded(run: Run): void {
  if (run.ended) throw refusal('ALREADY_ENDED', 'The migration has ended');
}
