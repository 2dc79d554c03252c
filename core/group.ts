/**
 * What is true of a migration group as a whole, from what is true of its members: its status, who holds it
 * up, whether its final migration may begin. No decisions about single members.
 */
import { isEnded, statusOfMembers, type Status } from './states.ts';

/** What the user decided about a member that failed or was terminated. */
export type MemberDecision = 'wait' | 'go-on-without';

export interface GroupMember {
  readonly id: string;
  readonly name: string;
  readonly status: Status;
  readonly decision: MemberDecision | null;
}

export interface GroupView {
  readonly status: Status;
  /** Members that take part in the final migration. */
  readonly taking: readonly string[];
  /** Members that failed or ended early and that nobody has decided about. */
  readonly undecided: readonly string[];
  readonly failed: number;
  readonly terminated: number;
  /** What stands in the way of the final migration; null is nothing. */
  readonly waitingFor: string | null;
}

const lost: readonly Status[] = ['Failed', 'Aborted', 'Terminated'];

export function viewGroup(members: readonly GroupMember[]): GroupView {
  const taking = members.filter(({ decision }) => decision !== 'go-on-without');
  const undecided = taking.filter(({ status, decision }) => lost.includes(status) && decision === null);
  const count = (...wanted: readonly Status[]): number =>
    members.filter(({ status }) => wanted.includes(status)).length;
  return {
    status: statusOfMembers((taking.length > 0 ? taking : members).map(({ status }) => status)),
    taking: taking.filter(({ status }) => !isEnded(status)).map(({ id }) => id),
    undecided: undecided.map(({ id }) => id),
    failed: count('Failed', 'Aborted'),
    terminated: count('Terminated'),
    waitingFor: waitsFor(taking, undecided),
  };
}

function waitsFor(taking: readonly GroupMember[], undecided: readonly GroupMember[]): string | null {
  const [first] = undecided;
  if (first !== undefined) {
    const more = undecided.length > 1 ? ` and ${undecided.length - 1} more` : '';
    return `a decision about ${first.name}${more}: wait, or go on without`;
  }
  const behind = taking.filter(({ status }) => status !== 'Ready To Migrate' && status !== 'Completed');
  const [next] = behind;
  if (next === undefined) return taking.some(({ status }) => status === 'Ready To Migrate') ? null : 'a member';
  return `${next.name} (${next.status})${behind.length > 1 ? ` and ${behind.length - 1} more` : ''}`;
}
