/** Commands to a group: judged here, passed on to members whose phase allows them. */
import { setHandler } from '@temporalio/workflow';
import type {
  CommandAccepted,
  MemberCommand,
  MemberDecisionCommand,
  OperatorCommand,
} from '../../contracts/workflows.ts';
import { isEnded, limits } from '../../core/index.ts';
import { refusal } from '../../temporal/index.ts';
import { lookIfLong } from '../begin-anew.ts';
import {
  admitted,
  decideMember,
  finalMigration,
  memberCommand,
  memberReport,
  pause,
  resume,
  shutDownGuest,
  terminate,
} from '../messages.ts';
import { tell } from '../tell.ts';
import { handlerNotes } from '../vm-migration/proxies.ts';
import { hear, viewOf, type Group } from './group.ts';

const accepted: CommandAccepted = { accepted: true };

interface Command {
  readonly refuse: (group: Group) => void;
  readonly carryOut: (group: Group, command: OperatorCommand) => Promise<void> | void;
}

const commands: readonly (readonly [typeof finalMigration, Command])[] = [
  [finalMigration, { refuse: refuseFinal, carryOut: beginFinal }],
  [terminate, { refuse: refuseTermination, carryOut: beginTermination }],
  [pause, { refuse: (group) => refusePause(group, true), carryOut: (group, by) => setPaused(group, by, true) }],
  [resume, { refuse: (group) => refusePause(group, false), carryOut: (group, by) => setPaused(group, by, false) }],
  [
    shutDownGuest,
    { refuse: refuseInFinal, carryOut: (group, by) => passOn(group, { ...by, kind: 'shut-down-guest' }) },
  ],
];

export function registerHandlers(group: Group): void {
  setHandler(memberReport, (report) => hear(group, report));
  setHandler(admitted, () => {
    group.admitted = true;
  });
  for (const [definition, command] of commands) {
    const handler = async (given: OperatorCommand): Promise<CommandAccepted> => {
      await command.carryOut(group, given);
      return accepted;
    };
    setHandler(definition, handler, { validator: (_given: OperatorCommand) => command.refuse(group) });
  }
  setHandler(decideMember, (given) => decide(group, given), {
    validator: (given: MemberDecisionCommand) => refuseDecision(group, given),
  });
}

function beginFinal(group: Group, command: OperatorCommand): void {
  group.finalRequested = command;
}

async function beginTermination(group: Group, command: OperatorCommand): Promise<void> {
  group.terminated = command;
  await passOn(group, { ...command, kind: 'terminate' });
}

async function setPaused(group: Group, command: OperatorCommand, paused: boolean): Promise<void> {
  group.paused = paused;
  await passOn(group, { ...command, kind: paused ? 'pause' : 'resume' });
}

async function decide(group: Group, given: MemberDecisionCommand): Promise<CommandAccepted> {
  const { vmMigrationId, decision } = given;
  const member = group.members.get(vmMigrationId);
  if (member !== undefined) group.members.set(vmMigrationId, { ...member, decision });
  await handlerNotes.noteDecision({ vmMigrationId, decision });
  lookIfLong(group, limits.migrationEventsMax);
  return accepted;
}

/** Also to those that wait: after it was started again itself, the group does not know who of them runs. */
async function passOn(group: Group, command: MemberCommand): Promise<void> {
  if (command.kind !== 'shut-down-guest') group.said = command;
  const under = [...group.members.keys()].filter((id) => !isOver(group, id));
  await Promise.all(under.map((id) => tell(id, memberCommand, command)));
  if (under.length > 0) lookIfLong(group, limits.migrationEventsMax);
}

function isOver(group: Group, id: string): boolean {
  const status = group.members.get(id)?.status;
  return status !== undefined && isEnded(status) && !group.standing.has(id);
}

function refuseFinal(group: Group): void {
  refuseInFinal(group);
  const view = viewOf(group);
  if (view.undecided.length > 0) throw refusal('GROUP_HELD', `The group waits for ${view.waitingFor ?? 'a decision'}`);
  if (view.waitingFor !== null) throw refusal('FINAL_NOT_READY', `The group waits for ${view.waitingFor}`);
}

function refuseInFinal(group: Group): void {
  refuseTerminated(group);
  if (group.finalRequested !== null || group.finalUnderWay) {
    throw refusal('FINAL_UNDER_WAY', 'The final migration of the group was started already');
  }
}

function refuseTermination(group: Group): void {
  refuseTerminated(group);
  if (group.handingOver) {
    throw refusal('PHASE_DISALLOWS', 'The destination owns disks already; the group can only go forward');
  }
}

function refusePause(group: Group, paused: boolean): void {
  refuseInFinal(group);
  if (group.paused === paused) throw refusal('PHASE_DISALLOWS', paused ? 'It is paused already' : 'It is not paused');
}

function refuseDecision(group: Group, { vmMigrationId }: MemberDecisionCommand): void {
  refuseInFinal(group);
  const member = group.members.get(vmMigrationId);
  if (member === undefined) throw refusal('NOT_FOUND', `The group has no member ${vmMigrationId}`);
  const lost = member.status === 'Failed' || member.status === 'Aborted' || member.status === 'Terminated';
  if (!lost) throw refusal('PHASE_DISALLOWS', `${member.name} has neither failed nor was it terminated`);
}

function refuseTerminated(group: Group): void {
  if (group.terminated !== null) throw refusal('PHASE_DISALLOWS', 'The migration is being terminated');
}
