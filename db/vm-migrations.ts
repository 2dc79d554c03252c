/**
 * One VM's migration as people see it: step, state, reason, times. The workflow is the truth about the
 * step; these rows follow it. Every change writes an event in the same transaction.
 */
import {
  effectiveDestination,
  type Destination,
  type Dials,
  type Reason,
  type State,
  type Step,
} from '../core/index.ts';
import type { Disk, Migration, Prisma, VmMigration } from '../generated/prisma/client.ts';
import { found, json, jsonOrNull, type Database, type Db } from './database.ts';
import { recordEvent } from './events.ts';
import { setPhase } from './phases.ts';

export type { VmMigration };
export type VmMigrationDetails = VmMigration & { disks: Disk[]; migration: Migration };

export async function getVmMigration(db: Db, id: string): Promise<VmMigrationDetails> {
  const row = await db.vmMigration.findUnique({
    where: { id },
    include: { disks: { orderBy: { position: 'asc' } }, migration: true },
  });
  return found(row, 'migration of a VM', id);
}

export function findActiveVmMigration(db: Db, siteId: string, vmInstanceUuid: string): Promise<VmMigration | null> {
  return db.vmMigration.findFirst({ where: { sourceSiteId: siteId, vmInstanceUuid, endedAt: null } });
}

/** Which VMs of a site are being migrated now: for lists with eligibility. */
export function listActiveOfSite(db: Db, sourceSiteId: string): Promise<VmMigration[]> {
  return db.vmMigration.findMany({ where: { sourceSiteId, endedAt: null } });
}

/** Migrations whose next step waits for a site that is not paused any more. */
export function listHeldForNothing(db: Db): Promise<{ id: string }[]> {
  return db.$queryRaw`
    SELECT id FROM vm_migration WHERE held_by_site AND ended_at IS NULL AND NOT EXISTS (
      SELECT FROM site WHERE paused_at IS NOT NULL AND site.id IN (source_site_id, destination_site_id))
    ORDER BY id`;
}

/** Shows trouble that a step meets, without changing where it is. Forgotten at the next phase. */
export async function noteTrouble(
  database: Database,
  id: string,
  trouble: { readonly code: string; readonly message: string },
): Promise<void> {
  const { step, state, reason } = await getVmMigration(database.prisma, id);
  if (reasonCode(reason) === trouble.code) return;
  await setPhase(database, id, {
    step: step as Step,
    state: state as State,
    reason: trouble,
    waitingFor: trouble.message,
    onlyDuring: [step as Step],
  });
}

/** Where one VM goes, of its row and its migration's. */
export function destinationOf(row: { destination: unknown }, migration: { destination: unknown }): Destination {
  return effectiveDestination(row.destination as Destination | null, migration.destination as Destination);
}

/** What a person changes when a migration that failed is retried. */
export interface ChangedPlan {
  readonly destination?: Destination | undefined;
  readonly settings?: Dials | undefined;
  /** What was built at the old place is gone: nothing of it is known any more. */
  readonly rebuilds: boolean;
}

export async function setChangedPlan(db: Db, id: string, plan: ChangedPlan): Promise<void> {
  const { destination, settings, rebuilds } = plan;
  const forgotten = { finalVmName: null, shadowVmMoref: null, shadowVmAddress: null };
  const { migrationId } = await db.vmMigration.update({
    where: { id },
    data: {
      ...(destination === undefined ? {} : { destination: json(destination) }),
      ...(settings === undefined ? {} : { settings: json(settings) }),
      ...(rebuilds ? forgotten : {}),
    },
  });
  if (rebuilds) {
    const unknown = { destinationPath: null, destinationUuid: null };
    await db.disk.updateMany({ where: { vmMigrationId: id }, data: unknown });
  }
  await recordEvent(db, 'vm-migration.settings', { migrationId, vmMigrationId: id, data: { ...plan } });
}

/** Facts that steps learn: addresses, morefs, times. Times that are there already are kept. */
export type VmMigrationFacts = Pick<
  Prisma.VmMigrationUpdateInput,
  | 'sourceAgentId'
  | 'shadowVmMoref'
  | 'shadowVmAddress'
  | 'finalVmName'
  | 'finalVmMoref'
  | 'dataPathMs'
  | 'stoppedByUs'
  | 'approvedBy'
  | 'stopRequestedAt'
  | 'poweredOffAt'
  | 'frozenAt'
  | 'handedOverAt'
  | 'poweredOnAt'
  | 'guestReadyAt'
>;

export async function setFacts(db: Db, id: string, facts: VmMigrationFacts): Promise<void> {
  await db.vmMigration.update({ where: { id }, data: facts });
}

/** A new lease: commands with an older generation are refused by the replicators from now on. */
export async function takeLease(db: Db, id: string): Promise<number> {
  const row = await db.vmMigration.update({ where: { id }, data: { leaseGeneration: { increment: 1 } } });
  return row.leaseGeneration;
}

/** A new hand-over token, greater than every earlier one of this VM, also of earlier migrations of it. */
export async function takeHandOverToken(db: Db, id: string): Promise<bigint> {
  const vm = await getVmMigration(db, id);
  const same = { sourceSiteId: vm.sourceSiteId, vmInstanceUuid: vm.vmInstanceUuid };
  const { _max } = await db.vmMigration.aggregate({ where: same, _max: { handOverToken: true } });
  const token = (_max.handOverToken ?? 0n) + 1n;
  await db.vmMigration.update({ where: { id }, data: { handOverToken: token } });
  return token;
}

/** Keeps what the user wants of the dials; null follows the migration's again. */
export async function setDesiredDials(db: Db, id: string, dials: Dials | null): Promise<void> {
  const row = await db.vmMigration.update({ where: { id }, data: { settings: jsonOrNull(dials) } });
  await recordEvent(db, 'vm-migration.settings', {
    migrationId: row.migrationId,
    vmMigrationId: id,
    data: { desired: dials },
  });
}

/** Keeps what the replicator says is in force. */
export async function setDialsInForce(db: Db, id: string, dials: Dials): Promise<void> {
  const row = await db.vmMigration.update({ where: { id }, data: { dialsInForce: jsonOrNull(dials) } });
  await recordEvent(db, 'vm-migration.settings', {
    migrationId: row.migrationId,
    vmMigrationId: id,
    data: { inForce: dials },
  });
}

function reasonCode(reason: unknown): string | null {
  return (reason as Reason | null)?.code ?? null;
}
