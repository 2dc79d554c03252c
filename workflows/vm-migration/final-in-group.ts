/**
 * The final migration of a group's member: every part waits for the group's order, because all members are
 * stopped before any is handed over. Until the hand-over the group may order everybody back, at any moment.
 */
import { CancellationScope, condition, isCancellation } from '@temporalio/workflow';
import type { AfterWork, Message } from '../../contracts/activities.ts';
import type { FinalOrder } from '../../contracts/workflows.ts';
import { noteOf, refusal } from '../../temporal/index.ts';
import { tireless } from './proxies.ts';
import { report, reportOf } from './report.ts';
import { enter, recordOf, showPhase, type Run } from './run.ts';

/** How the parts are done that a migration by itself has as well; `more` says what people are told after each. */
export interface FinalParts {
  /** Returns the token of this final. */
  readonly stop: (run: Run, more: AfterWork, approvedBy?: string) => Promise<number>;
  /** Returns the token again once the source is frozen under it, with both sides equal. */
  readonly freeze: (run: Run, token: number, more: AfterWork) => Promise<number>;
}

const othersOff = { waitingFor: 'the other members to be off' };
const othersEqual = { waitingFor: 'the other members to be equal' };

/**
 * Returns the token of the frozen source when the group orders the hand-over. Throws GROUP_RETURNED after the
 * source was put back as it was.
 */
export async function finalInGroup(run: Run, parts: FinalParts): Promise<number> {
  const begun = run.order;
  if (begun === null) throw new TypeError('No order of the group');
  const { finalId, requestedBy } = begun;
  run.finalUnderWay = true;
  let frozen: number | undefined;
  try {
    const off = recordOf(run, 'shutDownGuest', othersOff);
    const tell = reportOf(run, { what: 'off', finalId });
    const token = await unlessReturned(run, () => parts.stop(run, { after: off, tell }, requestedBy));
    showPhase(run, 'shutDownGuest', othersOff);
    const toFreeze = await nextOrder(run, begun);
    if (toFreeze.order === 'freeze' && token !== undefined) {
      const equal = recordOf(run, 'freeze', othersEqual);
      frozen = await unlessReturned(run, () => parts.freeze(run, token, { after: equal }));
    }
    if (frozen !== undefined) {
      showPhase(run, 'freeze', othersEqual);
      // Not by the activity: others are handed over by this word, so the history has to know that it was frozen.
      await report(run, { what: 'frozen', finalId });
      if ((await nextOrder(run, toFreeze)).order === 'hand-over') return frozen;
    }
  } catch (error) {
    if (isCancellation(error)) throw error;
    await report(run, { what: 'cannot', finalId, reason: noteOf(error) });
    await condition(() => isReturned(run));
  }
  await CancellationScope.nonCancellable(() => goBack(run, finalId, frozen));
  throw refusal('GROUP_RETURNED', 'The group’s final migration was given up');
}

/** After the hand-over: what the last step that builds tells the group. */
export function tellBuilt(run: Run): readonly Message[] {
  return run.order === null ? [] : reportOf(run, { what: 'built', finalId: run.order.finalId });
}

/** Whether the destination is to be powered on, and what the group wants to hear then. `told` is the final it knows of already. */
export async function orderToPowerOn(run: Run, told: number | undefined): Promise<FinalOrder> {
  const { order } = run;
  if (order === null) throw new TypeError('No order of the group');
  // The group that was told was started anew meanwhile.
  if (order.finalId !== told) await report(run, { what: 'built', finalId: order.finalId });
  // A group that was started anew does not wait for the report.
  if (order.staysOff === true || order.order === 'power-on' || order.order === 'stay-off') return order;
  await enter(run, run.step, { waitingFor: 'its turn in the power-on order' });
  return nextOrder(run, order);
}

function isReturned(run: Run): boolean {
  return run.order?.order === 'return';
}

/** The order after `before`, which may have come already. */
async function nextOrder(run: Run, before: FinalOrder): Promise<FinalOrder> {
  await condition(() => run.order !== before);
  return run.order ?? before;
}

/** Does a part, and lets go of it when the group orders everybody back; undefined unless it came to its end all the same. */
async function unlessReturned<T>(run: Run, part: () => Promise<T>): Promise<T | undefined> {
  const scope = new CancellationScope({ cancellable: true });
  const doing = scope.run(part);
  const returned = condition(() => isReturned(run)).then(() => true);
  const first = await Promise.race([doing.then(() => false), returned]);
  if (!first) return doing;
  scope.cancel();
  return doing.catch((error: unknown) => {
    if (!isCancellation(error)) throw error;
    return undefined;
  });
}

async function goBack(run: Run, finalId: number, token: number | undefined): Promise<void> {
  await enter(run, 'shutDownGuest', { waitingFor: 'the source VM to run again' });
  if (token !== undefined) await tireless.unfreezeReplication({ ...run.ref, token });
  await tireless.restoreSourcePower(run.ref);
  // Of a group that was started anew, the order to return is of a later final than the one that it ends.
  const ended = run.order?.finalId ?? finalId;
  run.order = null;
  await report(run, { what: 'returned', finalId: ended });
}
