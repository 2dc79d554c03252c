/**
 * The final migration of a group: all members are stopped in the runbook's order, then all are frozen and
 * compared, then all are handed over, then those that the runbook names are powered on in its order. Until the
 * first hand-over one member that cannot sends all of them back, running at the source as before.
 */
import { condition, sleep } from '@temporalio/workflow';
import {
  emptyRunbook,
  limits,
  powerOnSteps,
  shutDownSteps,
  stayingOff,
  type FailureNote,
  type PowerOnStep,
  type RunbookStep,
} from '../../core/index.ts';
import { ladder, order, viewOf, type Group, type Reached } from './group.ts';
import { note } from './note.ts';

/** Returns whether the members were handed over; false when all of them went back. */
export async function runFinal(group: Group): Promise<boolean> {
  const { taking } = viewOf(group);
  begin(group);
  const cannot = (await stopAll(group, taking)) ?? (await freezeAll(group, taking));
  if (cannot !== null) {
    group.lastTrouble = cannot;
    await note(group, 'every member to be back at its source');
    await returnAll(group, taking);
    return false;
  }
  group.handingOver = true;
  const { runbook = emptyRunbook } = group.facts ?? {};
  const staysOff = powerOnSteps(runbook, taking).length === 0;
  await order(group, taking, 'hand-over', { staysOff });
  await allBuilt(group, taking);
  if (!staysOff) await powerOnAll(group, taking);
  return true;
}

/**
 * What a group does first whose former run was ended from outside in the middle of a final migration: members that stand
 * and wait for its orders go back to their source, or all go forward once one of them was handed over.
 */
export async function settleFinal(group: Group): Promise<void> {
  const { inFinal = [] } = group.facts ?? {};
  if (inFinal.length === 0) return;
  begin(group);
  for (const { id } of inFinal) group.reached.set(id, 'ordered');
  const ids = inFinal.map(({ id }) => id);
  group.handingOver = inFinal.some(({ handingOver }) => handingOver);
  if (group.handingOver) {
    for (const { id, handingOver } of inFinal) if (handingOver) group.reached.set(id, 'built');
    const rest = inFinal.filter(({ handingOver }) => !handingOver).map(({ id }) => id);
    await order(group, rest, 'hand-over');
    await allBuilt(group, rest);
    await powerOnAll(group, ids);
  } else {
    group.lastTrouble = returned('the workflow of the group was ended from outside');
    await note(group, 'every member to be back at its source');
    await returnAll(group, ids);
  }
  group.handingOver = false;
  group.finalUnderWay = false;
}

function begin(group: Group): void {
  group.finals += 1;
  group.finalUnderWay = true;
  group.lastTrouble = null;
  group.reached.clear();
  group.troubles.clear();
}

/** In order; a step that says "go on" does not hold the next one, but all have to be off in the end. */
async function stopAll(group: Group, taking: readonly string[]): Promise<FailureNote | null> {
  const requestedBy = group.finalRequested?.requestedBy;
  const { runbook = emptyRunbook, stopTimeoutSeconds = limits.shutDownTimeoutSeconds } = group.facts ?? {};
  for (const step of shutDownSteps(runbook, taking, stopTimeoutSeconds)) {
    await rest(group, taking, step);
    const early = firstCannot(group, taking);
    if (early !== null) return early;
    for (const id of step.members) group.reached.set(id, 'ordered');
    await order(group, step.members, 'stop', requestedBy === undefined ? {} : { requestedBy });
    const inTime = await settled(group, taking, () => step.members.every((id) => isPast(group, id, 'off')), step);
    const cannot = firstCannot(group, taking);
    if (cannot !== null) return cannot;
    if (!inTime && step.onFailure === 'stop') return late(group, step);
  }
  await condition(() => firstCannot(group, taking) !== null || taking.every((id) => isPast(group, id, 'off')));
  return firstCannot(group, taking);
}

async function freezeAll(group: Group, taking: readonly string[]): Promise<FailureNote | null> {
  await order(group, taking, 'freeze');
  await condition(() => firstCannot(group, taking) !== null || taking.every((id) => isPast(group, id, 'frozen')));
  return firstCannot(group, taking);
}

/** All that were told to stop. Whoever ended meanwhile has undone everything by itself. */
async function returnAll(group: Group, taking: readonly string[]): Promise<void> {
  const back = taking.filter((id) => group.reached.has(id) && viewOf(group).taking.includes(id));
  await order(group, back, 'return');
  await condition(() => back.every((id) => group.reached.get(id) === 'returned' || !viewOf(group).taking.includes(id)));
}

/** One that was adopted by the janitor goes to its end without a report in between. */
async function allBuilt(group: Group, ids: readonly string[]): Promise<void> {
  await condition(() => ids.every((id) => isPast(group, id, 'built') || hasEnded(group, id)));
}

/** A step that does not come up in time ends the order where the runbook says so: the rest stays off. */
async function powerOnAll(group: Group, ids: readonly string[]): Promise<void> {
  const { runbook = emptyRunbook } = group.facts ?? {};
  const taking = ids.filter((id) => group.reached.get(id) !== 'cannot');
  await order(group, stayingOff(runbook, taking), 'stay-off');
  let stopped = false;
  for (const step of powerOnSteps(runbook, taking)) {
    if (stopped) {
      await order(group, step.members, 'stay-off');
      continue;
    }
    if (step.delaySeconds > 0) await sleep(step.delaySeconds * 1000);
    await order(group, step.members, 'power-on', { waitFor: step.waitFor });
    const wanted: Reached = step.waitFor === 'nothing' ? 'powered-on' : 'guest-up';
    const up = (): boolean => step.members.every((id) => isPast(group, id, wanted) || hasEnded(group, id));
    await condition(up, step.timeoutSeconds * 1000);
    if (step.members.some((id) => !isPast(group, id, wanted))) {
      group.lastTrouble = notUp(group, step);
      stopped = step.onFailure === 'stop';
    }
  }
}

/** Whether a member has come so far; one that cannot go on counts as settled from `built` on. */
function isPast(group: Group, id: string, wanted: Reached): boolean {
  const now = group.reached.get(id);
  if (now === 'cannot') return group.handingOver;
  return now !== undefined && ladder.indexOf(now) >= ladder.indexOf(wanted);
}

function hasEnded(group: Group, id: string): boolean {
  return group.members.get(id)?.status === 'Completed';
}

function firstCannot(group: Group, taking: readonly string[]): FailureNote | null {
  const id = taking.find((member) => group.reached.get(member) === 'cannot');
  if (id === undefined) return null;
  const reason = group.troubles.get(id);
  return returned(`${nameOf(group, id)}: ${reason?.message ?? 'it has ended'}`, reason?.remedy);
}

async function rest(group: Group, taking: readonly string[], { delaySeconds }: RunbookStep): Promise<void> {
  if (delaySeconds > 0) await condition(() => firstCannot(group, taking) !== null, delaySeconds * 1000);
}

/** Returns whether it came true in time; a member that cannot ends the wait. */
async function settled(
  group: Group,
  taking: readonly string[],
  done: () => boolean,
  { timeoutSeconds }: RunbookStep,
): Promise<boolean> {
  await condition(() => done() || firstCannot(group, taking) !== null, timeoutSeconds * 1000);
  return done();
}

function late(group: Group, step: RunbookStep): FailureNote {
  const names = step.members.filter((id) => !isPast(group, id, 'off')).map((id) => nameOf(group, id));
  return returned(`${names.join(', ')} did not stop within ${step.timeoutSeconds} s`);
}

function notUp(group: Group, step: PowerOnStep): FailureNote {
  const names = step.members.filter((id) => !isPast(group, id, 'guest-up')).map((id) => nameOf(group, id));
  return {
    code: 'RUNBOOK_STEP_FAILED',
    message: `${names.join(', ')} did not come up within ${step.timeoutSeconds} s`,
    remedy: 'Look at these VMs at the destination; power on by hand what the runbook left off.',
  };
}

function returned(message: string, remedy?: string): FailureNote {
  return {
    code: 'GROUP_RETURNED',
    message: `The final migration was given up: ${message}`,
    remedy: remedy ?? 'Look at the member that is named, then start the final migration again.',
  };
}

function nameOf(group: Group, id: string): string {
  return group.members.get(id)?.name ?? id;
}
