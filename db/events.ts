/**
 * What the live stream tells: a row per event and a NOTIFY with its id. Rows are written in the caller's
 * transaction, so that a listener never hears of what was rolled back.
 */
import type pg from 'pg';
import type { EventType } from '../core/index.ts';
import type { Event, Prisma } from '../generated/prisma/client.ts';
import { holdLock, json, type Db } from './database.ts';
import { keepConnected, type KeptConnection } from './keep-connected.ts';

export type { Event };

/** The channel of NOTIFY; its payload is the id of an event row. */
export const eventChannel = 'landfall_events';

interface EventBody {
  readonly migrationId?: string | null;
  readonly vmMigrationId?: string | null;
  readonly data: Readonly<Record<string, unknown>>;
}

export type NewEvent = EventBody & { readonly type: EventType };

/** Ids become visible in their order when whoever takes one commits before the next is taken. */
export const eventLock = 72_707_370;

/** Call it last in a transaction: from here to the commit no other event can be written. */
export async function recordEvent(db: Db, type: EventType, body: EventBody): Promise<void> {
  const { migrationId = null, vmMigrationId = null } = body;
  await holdLock(db, eventLock);
  const event = await db.event.create({ data: { type, migrationId, vmMigrationId, data: json(body.data) } });
  await db.$executeRaw`SELECT pg_notify(${eventChannel}, ${event.id.toString()})`;
}

const writeEvents = `
WITH locked AS MATERIALIZED (
  SELECT pg_advisory_xact_lock(${eventLock})
), told AS (
  INSERT INTO event (type, migration_id, vm_migration_id, data)
  SELECT given->>'type', given->>'migrationId', given->>'vmMigrationId', given->'data'
  FROM locked, jsonb_array_elements($1::jsonb) AS given RETURNING id
)
SELECT pg_notify('${eventChannel}', told.id::text) FROM told`;

/** The same for hot paths, in one round trip. */
export async function recordEvents(client: pg.ClientBase, events: readonly NewEvent[]): Promise<void> {
  await client.query({ name: 'write-events', text: writeEvents, values: [JSON.stringify(events)] });
}

/** Events after an id, oldest first: what a client missed. */
export function listEventsAfter(db: Db, afterId: bigint, limit: number): Promise<Event[]> {
  return db.event.findMany({ where: { id: { gt: afterId } }, orderBy: { id: 'asc' }, take: limit });
}

/** The newest event of a type whose data match. */
export function newestEvent(db: Db, type: EventType, data: Prisma.JsonFilter<'Event'>): Promise<Event | null> {
  return db.event.findFirst({ where: { type, data }, orderBy: { id: 'desc' } });
}

export async function lastEventId(db: Db): Promise<bigint> {
  const last = await db.event.findFirst({ orderBy: { id: 'desc' }, select: { id: true } });
  return last?.id ?? 0n;
}

/** Forgets events older than a time; a client that was away longer reads the records instead. */
export async function pruneEvents(db: Db, before: Date): Promise<number> {
  return (await db.event.deleteMany({ where: { at: { lt: before } } })).count;
}

/**
 * Calls `heard` with the id of each event as it is committed. After a lost connection it connects again
 * and calls `heard(null)`: something may have been missed, so read from the last id you have.
 */
export function listenForEvents(url: string, heard: (id: bigint | null) => void): Promise<KeptConnection> {
  const listen = async (client: pg.Client): Promise<void> => {
    client.on('notification', (message) => {
      if (message.payload !== undefined) heard(BigInt(message.payload));
    });
    await client.query(`LISTEN ${eventChannel}`);
  };
  return keepConnected(url, listen, () => heard(null));
}
