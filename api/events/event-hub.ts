// Hears from Postgres that there are new events, reads each once, and hands it to everybody who listens in this process.
// NOTIFY only wakes: what is new is read from the table, so that a lost one costs nothing but a moment.
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
  /** Calls `listener` for each event from now on, in order; gives back the function that ends it. */
  subscribe(listener: EventListener): () => void;
  /** Events after an id, oldest first. */
  listAfter(id: bigint, limit: number): Promise<Event[]>;
  lastId(): Promise<bigint>;
  close(): Promise<void>;
}

/** One breath: what is notified within it is fetched by one query. */
const gatherMs = 15;
const pageSize = 500;

export async function openEventHub(database: Database, url: string, log: Logger): Promise<EventHub> {
  const listeners = new Set<EventListener>();
  let newestSeen = await lastEventId(database.prisma);
  let reading = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;

  // Ids become visible in order, so whatever lies behind the newest that was seen is new, and nothing else is.
  const readOn = async (): Promise<void> => {
    let rows: readonly EventRow[];
    do {
      rows = await listEventsAfter(database.prisma, newestSeen, pageSize);
      newestSeen = rows.at(-1)?.id ?? newestSeen;
      for (const event of rows.map(toEvent)) for (const listener of listeners) listener(event);
    } while (rows.length === pageSize);
  };
  const heard = (): void => {
    timer ??= setTimeout(() => {
      timer = undefined;
      reading = reading.then(readOn).catch((error: unknown) => {
        log.warn({ err: error }, 'events could not be read; they come with the next one');
      });
    }, gatherMs);
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
      await reading;
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
