/**
 * A group of VMs that are copied side by side and migrated together by one action. Its workflow id is the id of
 * its record. It claims tokens for all its members at once, starts so many at a time, waits until all are ready
 * and somebody says so, and then runs the final migration. Start reading here, then `final.ts`.
 */
import { allHandlersFinished, condition, upsertSearchAttributes, proxyLocalActivities } from '@temporalio/workflow';
import type { RecordsActivities } from '../../contracts/activities.ts';
import type { GroupMigrationInput, MigrationResult } from '../../contracts/workflows.ts';
import { isEnded, itsTurn, limits, sumOf, type Status } from '../../core/index.ts';
import { admissionWorkflowId, migGroup, recordsOptions } from '../../temporal/index.ts';
import { beginAnew } from '../begin-anew.ts';
import { countEnds, endUnbegun } from '../members.ts';
import { claimTokens, releaseTokens } from '../messages.ts';
import { tell } from '../tell.ts';
import { runFinal, settleFinal } from './final.ts';
import { openGroup, setStatus, startMember, viewOf, type Group } from './group.ts';
import { registerHandlers } from './handlers.ts';
import { note } from './note.ts';

const records = proxyLocalActivities<RecordsActivities>(recordsOptions);

export async function groupMigration(input: GroupMigrationInput): Promise<MigrationResult> {
  const group = openGroup(input);
  registerHandlers(group);
  upsertSearchAttributes([{ key: migGroup, value: input.migrationId }]);
  await readFacts(group);
  for (const id of group.facts?.failed ?? []) group.standing.add(id);
  // One that was started again stands as the records say.
  group.paused ||= group.facts?.paused === true;
  await waitForAdmission(group);
  if (input.restarted === true) await settleFinal(group);
  for (;;) {
    // Taken before the work: what comes while it is done is work for the next round.
    const seen = fingerprint(group);
    await step(group);
    if (isOver(group)) break;
    await renewIfLong(group);
    await condition(() => fingerprint(group) !== seen);
  }
  await tell(admissionWorkflowId, releaseTokens, { id: input.migrationId });
  return countEnds([...group.members.values()].map(({ status }) => status));
}

async function readFacts(group: Group): Promise<void> {
  const facts = await records.readGroup({ migrationId: group.input.migrationId });
  group.facts = facts;
  for (const member of facts.members) if (!group.members.has(member.id)) group.members.set(member.id, member);
}

/** Does everything that is to be done now. */
async function step(group: Group): Promise<void> {
  await startSome(group);
  if (group.finalRequested !== null && group.terminated === null) {
    await readFacts(group);
    await note(group, 'the final migration of all members');
    await runFinal(group);
    group.finalUnderWay = false;
    group.finalRequested = null;
    group.handingOver = false;
  }
  await note(group, waitingFor(group));
}

/**
 * So many copy at once; one that is ready, or has failed, makes room for the next. Each round looks anew: people pause and
 * terminate while members are being started.
 */
async function startSome(group: Group): Promise<void> {
  for (let some = nextOf(group); some.length > 0; some = nextOf(group)) {
    await Promise.all(some.map((id) => startMember(group, id)));
  }
  const { terminated } = group;
  if (terminated === null) return;
  const members = waitingOf(group).map((id) => [id, terminated] as const);
  for (const [id, status] of await endUnbegun(members)) {
    group.started.add(id);
    if (status !== null) setStatus(group, id, status);
  }
}

/** The members that begin now. */
function nextOf(group: Group): readonly string[] {
  if (group.terminated !== null || group.paused) return [];
  const copying = [...group.members.values()].filter(({ id, status }) => group.started.has(id) && isCopying(status));
  const free = (group.facts?.concurrency ?? limits.vmsPerMigrationMax) - copying.length;
  return waitingOf(group).slice(0, Math.max(0, Math.min(free, limits.startedTogetherMax)));
}

function waitingOf({ members, started }: Group): readonly string[] {
  const waiting = [...members.values()].filter(({ id, status }) => !started.has(id) && !isEnded(status));
  return waiting.map(({ id }) => id);
}

function isCopying(status: Status): boolean {
  return status !== 'Ready To Migrate' && !isEnded(status);
}

function waitingFor(group: Group): string | null {
  if (isOver(group)) return null;
  if (group.terminated !== null) return 'its members to be terminated';
  if (group.paused) return 'the migration to be resumed';
  const view = viewOf(group);
  return view.waitingFor ?? (view.taking.length > 0 ? 'the final migration to be started' : null);
}

/** The group is over when no member is under way and none waits for a retry. */
function isOver(group: Group): boolean {
  const members = [...group.members.values()];
  return group.finalRequested === null && members.every(({ id, status }) => isEnded(status) && !group.standing.has(id));
}

/** Whatever a member or a person can change. */
function fingerprint(group: Group): string {
  const members = [...group.members.values()].map(({ status, decision }) => `${status}/${decision ?? ''}`);
  return JSON.stringify([members, [...group.standing], group.finalRequested, group.terminated, group.paused]);
}

async function waitForAdmission(group: Group): Promise<void> {
  if (group.admitted || group.facts === undefined) return;
  const { migrationId: id } = group.input;
  const goOn = (): boolean => group.admitted || group.terminated !== null;
  while (!goOn()) {
    const { needs, priority } = group.facts;
    const wanted = { id, needs: sumOf(Object.values(needs)), priority, owner: id };
    const heard = await tell(admissionWorkflowId, claimTokens, wanted);
    if (!(await condition(goOn, heard ? 2000 : limits.claimLostSeconds * 1000))) await note(group, itsTurn);
    if (heard) await condition(goOn, limits.claimAgainSeconds * 1000);
    // A claim that is made again is made as things are then: people may have changed its priority.
    if (!goOn()) await readFacts(group);
  }
}

/** Safe here: no final is under way, and members report to the workflow's id. */
async function renewIfLong(group: Group): Promise<void> {
  if (!group.long) return;
  await condition(allHandlersFinished);
  // Whatever was accepted meanwhile is carried out by the next run.
  const { input, admitted, finals, paused, started, members, standing, finalRequested, terminated, lastTrouble } =
    group;
  await beginAnew<typeof groupMigration>({
    migrationId: input.migrationId,
    carry: {
      version: 2,
      finalRequested,
      terminated,
      lastTrouble,
      admitted,
      finals,
      paused,
      started: [...started],
      standing: [...standing],
      members: [...members.values()],
    },
  });
}
