/** What is kept of queues, groups and their members for people. The workflow is the truth; these rows follow it. */
import {
  itsTurn,
  limits,
  type Dials,
  type FinalPolicy,
  type MemberDecision,
  type MigrationOptions,
  type Objectives,
  type Queue,
  type Reason,
  type Runbook,
} from '../core/index.ts';
import type { Migration, Prisma, VmMigration } from '../generated/prisma/client.ts';
import { found, json, jsonOrNull, type Database, type Db } from './database.ts';
import { recordEvent } from './events.ts';
import { getMigration } from './migrations.ts';

/** Members that failed and have not ended: they stand still until somebody decides. */
export function standingStill(members: readonly VmMigration[]): readonly string[] {
  return members.filter(({ status, endedAt }) => status === 'Failed' && endedAt === null).map(({ id }) => id);
}

/** Members of an independent migration that have not ended, in order, with what people changed. Added ones it is told of. */
export async function readQueue(db: Db, migrationId: string): Promise<Queue & { readonly failed: readonly string[] }> {
  const { vmMigrations, paused, concurrency } = await getMigration(db, migrationId);
  const failed = standingStill(vmMigrations);
  const waiting = vmMigrations.filter(({ id, announced, endedAt }) => {
    return announced && endedAt === null && !failed.includes(id);
  });
  return {
    failed,
    waiting: waiting.map(({ id }) => id),
    held: waiting.filter(({ held }) => held).map(({ id }) => id),
    paused,
    concurrency,
  };
}

/** Members of a running queue that it has not been told of. */
export function listUnannounced(db: Db, migrationId: string): Promise<{ id: string }[]> {
  const where = { migrationId, announced: false };
  return db.vmMigration.findMany({ where, orderBy: { position: 'asc' }, select: { id: true } });
}

export async function setAnnounced(db: Db, ids: readonly string[]): Promise<void> {
  await db.vmMigration.updateMany({ where: { id: { in: [...ids] } }, data: { announced: true } });
}

/** For members that nobody has ever been told of. */
export async function deleteMembers(db: Db, ids: readonly string[]): Promise<void> {
  await db.vmMigration.deleteMany({ where: { id: { in: [...ids] }, announced: false, step: 'queued' } });
}

/** Keeps order, holds, pause and concurrency. Members that wait stand behind those that have begun. */
export async function keepQueue(database: Database, migrationId: string, queue: Queue): Promise<void> {
  await database.transaction(async (db) => {
    const { vmMigrations } = await getMigration(db, migrationId);
    const begun = vmMigrations.map(({ id }) => id).filter((id) => !queue.waiting.includes(id));
    const order = [...begun, ...queue.waiting];
    // Two passes, because no two members may have one position at any time. One that was added meanwhile keeps its own,
    // which is behind all of these.
    await db.$executeRaw`
      UPDATE vm_migration SET position = -1 - position WHERE migration_id = ${migrationId} AND id = ANY(${order})`;
    await db.$executeRaw`
      UPDATE vm_migration SET position = place.at - 1, held = vm_migration.id = ANY(${queue.held})
      FROM unnest(${order}::text[]) WITH ORDINALITY AS place(id, at) WHERE vm_migration.id = place.id`;
    const { paused, concurrency } = queue;
    await db.migration.update({ where: { id: migrationId }, data: { paused, concurrency } });
    await recordEvent(db, 'migration.changed', { migrationId, data: { order, held: queue.held, paused, concurrency } });
  });
}

export async function setMigrationNote(
  db: Db,
  id: string,
  note: { readonly reason: Omit<Reason, 'since'> | null; readonly waitingFor: string | null; readonly paused: boolean },
): Promise<void> {
  // Written at every turn of a group: without its members, which may be hundreds.
  const before = await db.migration.findUnique({ where: { id }, select: { place: true, reason: true } });
  const { place, reason: shown } = found(before, 'migration', id);
  const reason = since(shown as Reason | null, note.reason);
  // Admission says of what waits for its turn what that is.
  const inLine = note.waitingFor === itsTurn && place !== null;
  const waiting = inLine ? {} : { waitingFor: note.waitingFor, place: null };
  await db.migration.update({
    where: { id },
    data: { ...waiting, paused: note.paused, reason: jsonOrNull(reason) },
  });
  await recordEvent(db, 'migration.changed', { migrationId: id, data: { ...note, reason } });
}

/** A reason that stays the same keeps the time when it began. */
function since(before: Reason | null, reason: Omit<Reason, 'since'> | null): Reason | null {
  if (reason === null) return null;
  return { ...reason, since: before?.code === reason.code ? before.since : new Date().toISOString() };
}

/** The wish that a VM's migration stands still. */
export async function setPaused(db: Db, id: string, paused: boolean): Promise<void> {
  const { migrationId } = await db.vmMigration.update({ where: { id }, data: { paused } });
  await recordEvent(db, 'vm-migration.settings', { migrationId, vmMigrationId: id, data: { paused } });
}

export async function setDecision(db: Db, id: string, decision: MemberDecision | null): Promise<void> {
  const { migrationId } = await db.vmMigration.update({ where: { id }, data: { decision } });
  await recordEvent(db, 'migration.changed', { migrationId, vmMigrationId: id, data: { decision } });
}

/** What is planned for a migration; what is not named stays. */
export interface PlanChange {
  readonly final?: FinalPolicy | undefined;
  readonly objectives?: Objectives | undefined;
  readonly runbook?: Runbook | undefined;
  readonly settings?: Dials | undefined;
  readonly options?: MigrationOptions | undefined;
  readonly priority?: number | undefined;
}

export async function setPlan(db: Db, id: string, change: PlanChange): Promise<void> {
  const data = Object.entries(change).flatMap(([name, value]) => (value === undefined ? [] : [[name, json(value)]]));
  await db.migration.update({ where: { id }, data: Object.fromEntries(data) as Prisma.MigrationUpdateInput });
  await recordEvent(db, 'migration.changed', { migrationId: id, data: { ...change } });
}

/** What something waits for, and its place in line. */
export interface InLine {
  /** A VM's migration or a whole one. */
  readonly id: string;
  readonly waitingFor: string;
  readonly place: number;
}

/** Says of everything that has not begun what it waits for. */
export async function setWaitingFor(db: Db, waiting: readonly InLine[]): Promise<void> {
  const ids = waiting.map(({ id }) => id);
  const texts = waiting.map(({ waitingFor }) => waitingFor);
  const places = waiting.map(({ place }) => place);
  await db.$executeRaw`
    UPDATE vm_migration SET waiting_for = said.text, place = said.place
    FROM unnest(${ids}::text[], ${texts}::text[], ${places}::int[]) AS said(id, text, place)
    WHERE vm_migration.id = said.id AND status = 'Queued'
      AND (waiting_for, vm_migration.place) IS DISTINCT FROM (said.text, said.place)`;
  await db.$executeRaw`
    UPDATE migration SET waiting_for = said.text, place = said.place
    FROM unnest(${ids}::text[], ${texts}::text[], ${places}::int[]) AS said(id, text, place)
    WHERE migration.id = said.id AND status = 'Queued'
      AND (waiting_for, migration.place) IS DISTINCT FROM (said.text, said.place)`;
}

/** Of these ids of migrations and VMs' migrations, the ones that have ended or are not there. */
export async function findEnded(db: Db, ids: readonly string[]): Promise<readonly string[]> {
  const rows = await db.$queryRaw<{ id: string }[]>`
    SELECT id FROM vm_migration WHERE id = ANY(${ids}) AND ended_at IS NULL
    UNION ALL SELECT id FROM migration WHERE id = ANY(${ids}) AND ended_at IS NULL`;
  const alive = new Set(rows.map(({ id }) => id));
  return ids.filter((id) => !alive.has(id));
}

/** What waits for its turn, the next ones first. */
export function listWaiting(db: Db): Promise<InLine[]> {
  return db.$queryRaw`
    SELECT id, waiting_for AS "waitingFor", place FROM (
      SELECT id, waiting_for, place FROM vm_migration WHERE ended_at IS NULL AND status = 'Queued'
      UNION ALL SELECT id, waiting_for, place FROM migration WHERE ended_at IS NULL AND status = 'Queued'
    ) AS line WHERE place IS NOT NULL ORDER BY place, id LIMIT ${limits.pageSizeMax}`;
}

/** Who goes first, of every migration that has not ended. */
export async function listPriorities(db: Db): Promise<Readonly<Record<string, number>>> {
  const rows = await db.migration.findMany({ where: { endedAt: null }, select: { id: true, priority: true } });
  return Object.fromEntries(rows.map(({ id, priority }) => [id, priority]));
}

/** How many members of a queue or group begin before this one, which has not begun either. */
export function countAhead(db: Db, { migrationId, position }: VmMigration): Promise<number> {
  return db.vmMigration.count({
    where: { migrationId, status: 'Queued', waitingFor: null, held: false, position: { lt: position } },
  });
}

/** Whoever is under way and so holds tokens: a group, or a VM's migration by itself; with the members that it holds for. */
export interface Holder {
  readonly id: string;
  readonly migration: Migration;
  readonly members: readonly VmMigration[];
}

export async function listHolders(db: Db): Promise<readonly Holder[]> {
  const rows = await db.migration.findMany({
    where: { endedAt: null },
    orderBy: { id: 'asc' },
    include: { vmMigrations: { where: { endedAt: null }, orderBy: { position: 'asc' } } },
  });
  return rows.flatMap(({ vmMigrations, ...migration }) => {
    const begun = vmMigrations.filter(({ step, status }) => step !== 'queued' && status !== 'Failed');
    if (migration.kind === 'group') {
      return begun.length === 0 ? [] : [{ id: migration.id, migration, members: vmMigrations }];
    }
    return begun.map((member) => ({ id: member.id, migration, members: [member] }));
  });
}
