/**
 * What a group's workflow knows of its members, and how it hears from and speaks to them. It decides nothing
 * about the order of a final migration.
 */
import { ParentClosePolicy, WorkflowIdReusePolicy, startChild, workflowInfo } from '@temporalio/workflow';
import type { GroupFacts } from '../../contracts/activities.ts';
import type {
  FinalOrder,
  GroupMigrationInput,
  MemberCommand,
  MemberReport,
  OperatorCommand,
} from '../../contracts/workflows.ts';
import {
  isEnded,
  limits,
  viewGroup,
  type FailureNote,
  type GroupMember,
  type GroupView,
  type Status,
} from '../../core/index.ts';
import { isAlreadyStarted } from '../../temporal/index.ts';
import { lookIfLong } from '../begin-anew.ts';
import { finalOrder, memberCommand } from '../messages.ts';
import { tell } from '../tell.ts';
import { vmMigration } from '../vm-migration/index.ts';

/** How far a member has come in the final that is under way. */
export type Reached = 'ordered' | 'off' | 'frozen' | 'built' | 'powered-on' | 'guest-up' | 'returned' | 'cannot';

export interface Group {
  readonly input: GroupMigrationInput;
  facts: GroupFacts | undefined;
  readonly members: Map<string, GroupMember>;
  readonly started: Set<string>;
  /** Members that failed and stand still until somebody retries or terminates them. */
  readonly standing: Set<string>;
  /** How far members have come in final number `finals`. */
  readonly reached: Map<string, Reached>;
  readonly troubles: Map<string, FailureNote>;
  finals: number;
  admitted: boolean;
  paused: boolean;
  /** What all members were told last. */
  said: MemberCommand | null;
  finalRequested: OperatorCommand | null;
  finalUnderWay: boolean;
  /** From the first hand-over on: nobody goes back. */
  handingOver: boolean;
  terminated: OperatorCommand | null;
  /** Why the last final was given up, or what the runbook met. */
  lastTrouble: FailureNote | null;
  /** What people were told last. */
  noted: string;
  /** Search attributes as they were written last. */
  labelled: string;
  /** Its history was long when it was looked at last. */
  long: boolean;
}

export function openGroup(input: GroupMigrationInput): Group {
  const { carry } = input;
  return {
    input,
    facts: undefined,
    members: new Map(carry?.members.map((member) => [member.id, member])),
    started: new Set(carry?.started),
    standing: new Set(carry?.standing),
    reached: new Map(),
    troubles: new Map(),
    finals: carry?.finals ?? (input.restarted === true ? laterThanAll() : 0),
    admitted: carry?.admitted ?? false,
    paused: carry?.paused ?? false,
    said: null,
    finalRequested: carry?.finalRequested ?? null,
    finalUnderWay: false,
    handingOver: false,
    terminated: carry?.terminated ?? null,
    lastTrouble: carry?.lastTrouble ?? null,
    noted: '',
    labelled: '',
    long: false,
  };
}

/** Whatever number the former run's last final had: nobody starts one every second. */
function laterThanAll(): number {
  return Math.floor(workflowInfo().runStartTime.getTime() / 1000);
}

export function viewOf(group: Group): GroupView {
  return viewGroup([...group.members.values()]);
}

/** What a member says of itself. News of an earlier final are void; so are those that come twice, when more is known by then. */
export function hear(group: Group, { vmMigrationId, news }: MemberReport): void {
  lookIfLong(group, limits.migrationEventsMax);
  switch (news.what) {
    case 'ready':
      return isReadyOld(group, vmMigrationId) ? undefined : setStatus(group, vmMigrationId, 'Ready To Migrate');
    case 'not-ready':
    case 'retrying':
      group.standing.delete(vmMigrationId);
      return setStatus(group, vmMigrationId, 'Running');
    case 'failed':
    case 'ended':
      if (news.what === 'failed') group.standing.add(vmMigrationId);
      else group.standing.delete(vmMigrationId);
      setStatus(group, vmMigrationId, news.status);
      if (news.status !== 'Completed') group.reached.set(vmMigrationId, 'cannot');
      return undefined;
    default:
      if (news.finalId !== group.finals || !isNew(group.reached.get(vmMigrationId), news.what)) return undefined;
      group.reached.set(vmMigrationId, news.what);
      if (news.what === 'cannot') group.troubles.set(vmMigrationId, news.reason);
      if (news.what === 'off') setStatus(group, vmMigrationId, 'Final Migration');
      if (news.what === 'returned') setStatus(group, vmMigrationId, 'Running');
      return undefined;
  }
}

/** Of one final members report in this order. */
export const ladder: readonly Reached[] = ['ordered', 'off', 'frozen', 'built', 'powered-on', 'guest-up'];

/** Whoever has given the final up has not come further in it. */
function isNew(before: Reached | undefined, now: Reached): boolean {
  if (before === undefined || !ladder.includes(now)) return true;
  return ladder.includes(before) && ladder.indexOf(now) > ladder.indexOf(before);
}

/** It has ended since, or is in its final migration by now. */
function isReadyOld({ members, standing, reached, finalUnderWay }: Group, id: string): boolean {
  const before = reached.get(id);
  if (finalUnderWay && before !== undefined && ladder.includes(before)) return true;
  const status = members.get(id)?.status;
  return status !== undefined && isEnded(status) && !standing.has(id);
}

/** A decision stands until the member comes back by itself. */
export function setStatus(group: Group, id: string, status: Status): void {
  const member = group.members.get(id);
  if (member === undefined) return;
  const decision = isEnded(status) ? member.decision : null;
  group.members.set(id, {
    ...member,
    status,
    decision: member.decision === 'go-on-without' ? member.decision : decision,
  });
}

export async function order(
  group: Group,
  ids: readonly string[],
  what: FinalOrder['order'],
  more: Pick<FinalOrder, 'waitFor' | 'requestedBy' | 'staysOff'> = {},
): Promise<void> {
  await Promise.all(ids.map((id) => tell(id, finalOrder, { finalId: group.finals, order: what, ...more })));
}

/** The member outlives this workflow; its end comes by signal, and by its result in case nobody sent one. */
export async function startMember(group: Group, vmMigrationId: string): Promise<void> {
  group.started.add(vmMigrationId);
  const { said } = group;
  const before = group.members.get(vmMigrationId);
  setStatus(group, vmMigrationId, 'Initializing');
  try {
    const child = await startChild(vmMigration, {
      workflowId: vmMigrationId,
      args: [{ vmMigrationId, parentWorkflowId: group.input.migrationId, inGroup: true }],
      parentClosePolicy: ParentClosePolicy.ABANDON,
      // One that was ended from outside is the janitor's business: it would begin from nothing here.
      workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
      staticSummary: `Migration of one VM in a group, ${vmMigrationId}`,
    });
    void child.result().then(
      ({ status }) => hear(group, { vmMigrationId, news: { what: 'ended', status } }),
      () => hear(group, { vmMigrationId, news: { what: 'ended', status: 'Failed' } }),
    );
  } catch (error) {
    // It was started before, by an earlier run of this group: it stands where the records say, and reports here.
    if (!isAlreadyStarted(error)) throw error;
    const status = group.members.get(vmMigrationId)?.status;
    if (before !== undefined && status === 'Initializing') group.members.set(vmMigrationId, before);
  }
  // What was said meanwhile may have come too early for it.
  if (group.said !== null && group.said !== said) await tell(vmMigrationId, memberCommand, group.said);
}
