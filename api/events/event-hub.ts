// Hears of new events from Postgres and hands each, read once, to everybody who listens in this process.
// NOTIFY carries only an id, so the row is fetched; ids that come together are fetched together.
import type { Logger } from 'pino';
import type { Event } from '../../contracts/rest.ts';
import {
  lastEventId,
  listEventsAfter,
  listenForEvents,
  type Database,
  type Event as EventRow,
} from '../../db/index.ts';

export type EventListener = (event: Event) => void;

export interface EventHub {
  /** Calls `listener` for each event from now on; give back the function that ends it. */
  subscribe(listener: EventListener): () => void;
  /** Events after an id, oldest first. */
  listAfter(id: bigint, limit: number): Promise<Event[]>;
  lastId(): Promise<bigint>;
  close(): Promise<void>;
}

/** One breath: what is notified within it is fetched by one query. */
const gatherMs = 15;
const catchUpPage = 500;

export async function openEventHub(database: Database, url: string, log: Logger): Promise<EventHub> {
  const listeners = new Set<EventListener>();
  let waiting: bigint[] = [];
  let timer: NodeJS.Timeout | undefined;
  let newestSeen = await lastEventId(database.prisma);

  const tell = (rows: readonly EventRow[]): void => {
    for (const row of rows) {
      if (row.id > newestSeen) newestSeen = row.id;
      for (const listener of listeners) listener(toEvent(row));
    }
  };
  const fetchWaiting = async (): Promise<void> => {
    timer = undefined;
    const ids = waiting;
    waiting = [];
    tell(await database.prisma.event.findMany({ where: { id: { in: ids } }, orderBy: { id: 'asc' } }));
  };
  const catchUp = async (): Promise<void> => {
    for (let page = await listEventsAfter(database.prisma, newestSeen, catchUpPage); page.length > 0;) {
      tell(page);
      page = page.length < catchUpPage ? [] : await listEventsAfter(database.prisma, newestSeen, catchUpPage);
    }
  };
  const complain = (error: unknown): void => {
    log.warn({ err: error }, 'events could not be read; listeners catch up with the next one');
  };
  const heard = (id: bigint | null): void => {
    if (id === null) {
      catchUp().catch(complain);
      return;
    }
    waiting.push(id);
    timer ??= setTimeout(() => void fetchWaiting().catch(complain), gatherMs);
  };
  const listening = await listenForEvents(url, heard);

  return {
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    listAfter: async (id, limit) => (await listEventsAfter(database.prisma, id, limit)).map(toEvent),
    lastId: () => lastEventId(database.prisma),
    async close() {
      clearTimeout(timer);
      listeners.clear();
      await listening.close();
    },
  };
}

function toEvent(row: EventRow): Event {
  return {
    id: row.id.toString(),
    type: row.type,
    at: row.at.toISOString(),
    migrationId: row.migrationId,
    vmMigrationId: row.vmMigrationId,
    data: row.data as Record<string, unknown>,
  };
}
