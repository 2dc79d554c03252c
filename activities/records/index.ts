/** Activities that only touch the records: what people see of a migration. */
import type { GroupFacts, RecordsActivities } from '../../contracts/activities.ts';
import type { TokenClaim } from '../../contracts/workflows.ts';
import {
  isFrom,
  limits,
  needsOf,
  siteToResume,
  startsResource,
  sumOf,
  type MemberDecision,
  type MigrationOptions,
  type Runbook,
  type Status,
  type Step,
  type Waiting,
} from '../../core/index.ts';
import {
  findEnded,
  getMigration,
  listSites,
  keepQueue,
  listHolders,
  readTokens,
  readQueue,
  setDecision,
  setFacts,
  setMigrationNote,
  setPaused,
  setPhase,
  setWaitingFor,
  setChangedPlan,
  standingStill,
  type Holder,
  type MigrationWithMembers,
  type VmMigration,
} from '../../db/index.ts';
import { admissionWorkflowId } from '../../temporal/index.ts';
import { send } from '../send.ts';
import type { Services } from '../services.ts';
import { readFacts, routeOf } from './facts.ts';

export function recordsActivities({ database }: Services): RecordsActivities {
  const { prisma } = database;
  return {
    readVmMigration: ({ vmMigrationId }) => readFacts(database, vmMigrationId),
    async claimAdmission({ vmMigrationId: id }) {
      const facts = await readFacts(database, id);
      const { needs, priority, migrationId: owner, standing } = facts;
      const claim: TokenClaim = { id, needs, priority, owner };
      const message = { workflowId: admissionWorkflowId, signal: 'claimTokens', args: [claim] };
      return { facts, heard: standing.ended === null && (await send(message)) };
    },
    notePhase: async ({ vmMigrationId, ...note }) => ({
      pausedSite: await setPhase(database, vmMigrationId, note),
    }),
    async noteApproval({ vmMigrationId, approvedBy }) {
      await setFacts(prisma, vmMigrationId, { approvedBy });
    },
    readQueue: ({ migrationId }) => readQueue(prisma, migrationId),
    noteQueue: ({ migrationId, queue }) => keepQueue(database, migrationId, queue),
    readGroup: async ({ migrationId }) => groupFacts(await getMigration(prisma, migrationId)),
    noteMigration: ({ migrationId, ...note }) => setMigrationNote(prisma, migrationId, note),
    notePaused: ({ vmMigrationId, paused }) => setPaused(prisma, vmMigrationId, paused),
    noteChangedPlan: ({ vmMigrationId, ...plan }) => setChangedPlan(prisma, vmMigrationId, plan),
    noteDecision: ({ vmMigrationId, decision }) => setDecision(prisma, vmMigrationId, decision),
    async noteAdmission({ waiting }) {
      const siteNames = new Map((await listSites(prisma)).map(({ id, name }) => [id, name]));
      await setWaitingFor(
        prisma,
        waiting.map((claim) => ({ ...claim, waitingFor: waitingText(claim, siteNames) })),
      );
    },
    findDeadClaims: ({ ids }) => findEnded(prisma, ids),
    readCapacities: () => readTokens(prisma),
    readLeases: async () => (await listHolders(prisma)).map(leaseOf),
  };
}

function waitingText({ resource, taken, capacity, place }: Waiting, siteNames: Map<string, string>): string {
  if (resource.startsWith('site:')) return siteToResume(siteNames.get(resource.slice('site:'.length)) ?? resource);
  if (resource === startsResource) return `its turn: ${capacity} VMs per second begin, number ${place} in line`;
  return `${resource}: ${taken} of ${capacity} in use, ${place === 1 ? 'next' : `number ${place}`} in line`;
}

/** A group holds for all its members together, a migration by itself for its own. */
function leaseOf({ id, migration, members }: Holder): TokenClaim {
  const needs = sumOf(members.map((member) => needsOf(routeOf(member, migration))));
  return { id, needs, priority: migration.priority, owner: migration.id };
}

function groupFacts(row: MigrationWithMembers): GroupFacts {
  return {
    members: row.vmMigrations.map((member) => ({
      id: member.id,
      name: member.vmName,
      status: member.status as Status,
      decision: member.decision as MemberDecision | null,
    })),
    failed: standingStill(row.vmMigrations),
    paused: row.paused,
    inFinal: row.vmMigrations
      .filter(isInFinal)
      .map(({ id, step }) => ({ id, handingOver: isFrom(step as Step, 'handOver') })),
    needs: Object.fromEntries(row.vmMigrations.map((member) => [member.id, needsOf(routeOf(member, row))])),
    priority: row.priority,
    concurrency: row.concurrency,
    runbook: row.runbook as unknown as Runbook,
    stopTimeoutSeconds: stopTimeoutSeconds(row.options as unknown as MigrationOptions),
  };
}

/** One that failed in its final stands still: it obeys no order, and nobody waits for it. */
function isInFinal({ step, status, endedAt }: VmMigration): boolean {
  return endedAt === null && status !== 'Failed' && step !== 'unwind' && isFrom(step as Step, 'shutDownGuest');
}

/** A member that decides by itself says so before the group loses patience; one that waits is waited for. */
function stopTimeoutSeconds({ shutDown: { timeoutSeconds, onTimeout } }: MigrationOptions): number {
  return onTimeout === 'wait' ? limits.stopWaitSecondsMax : timeoutSeconds + limits.stopGraceSeconds;
}
