/** Activities that only touch the records: what people see of a migration. */
import type { GroupFacts, RecordsActivities, Standing, VmMigrationFacts } from '../../contracts/activities.ts';
import type { TokenClaim } from '../../contracts/workflows.ts';
import {
  isFrom,
  limits,
  needsOf,
  siteToResume,
  startsResource,
  sumOf,
  type FinalPolicy,
  type MemberDecision,
  type MigrationOptions,
  type Runbook,
  type Status,
  type Step,
  type Waiting,
} from '../../core/index.ts';
import {
  destinationOf,
  findEnded,
  getMigration,
  getVmMigration,
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
  takeHandOverToken,
  type Holder,
  type Migration,
  type MigrationWithMembers,
  type VmMigration,
} from '../../db/index.ts';
import type { Services } from '../services.ts';

export function recordsActivities({ database }: Services): RecordsActivities {
  const { prisma } = database;
  return {
    readVmMigration: async ({ vmMigrationId }) => factsOf(await getVmMigration(prisma, vmMigrationId)),
    notePhase: async ({ vmMigrationId, ...note }) => ({
      pausedSite: await setPhase(database, vmMigrationId, note),
    }),
    async noteApproval({ vmMigrationId, approvedBy }) {
      await setFacts(prisma, vmMigrationId, { approvedBy });
    },
    async beginFinal({ vmMigrationId, approvedBy }) {
      if (approvedBy !== undefined) await setFacts(prisma, vmMigrationId, { approvedBy });
      const token = Number(await takeHandOverToken(prisma, vmMigrationId));
      return { facts: factsOf(await getVmMigration(prisma, vmMigrationId)), token };
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

function factsOf({ migration, ...row }: Awaited<ReturnType<typeof getVmMigration>>): VmMigrationFacts {
  const { migrationId, vmName, vmInstanceUuid, sourceSiteId, destinationSiteId } = row;
  return {
    migrationId,
    vmName,
    vmInstanceUuid,
    sourceSiteId,
    destinationSiteId,
    needs: needsOf(routeOf(row, migration)),
    place: destinationOf(row, migration),
    priority: migration.priority,
    powersOn: (migration.final as unknown as FinalPolicy).mode !== 'manual',
    standing: standingOf(row),
  };
}

function standingOf({ step, status, endedAt, handedOverAt }: VmMigration): Standing {
  const ended = endedAt === null ? null : (status as NonNullable<Standing['ended']>);
  return { step: step as Step, ended, handedOver: handedOverAt !== null };
}

/** A group holds for all its members together, a migration by itself for its own. */
function leaseOf({ id, migration, members }: Holder): TokenClaim {
  const needs = sumOf(members.map((member) => needsOf(routeOf(member, migration))));
  return { id, needs, priority: migration.priority, owner: migration.id };
}

function routeOf(row: VmMigration, migration: Migration): Parameters<typeof needsOf>[0] {
  const { datastoreMoref } = destinationOf(row, migration);
  const { sourceSiteId, sourceHostMoref, destinationSiteId } = row;
  return { sourceSiteId, sourceHostMoref, destinationSiteId, datastoreMoref };
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
