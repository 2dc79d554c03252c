// Forgets what nobody needs any more: kept answers after a day, events after a week. Any number of API processes may.
import { pruneEvents, pruneIdempotencyKeys } from '../../db/index.ts';
import type { Services } from '../services.ts';

const intervalMs = 10 * 60_000;
const hourMs = 3_600_000;
/** As the reference promises for Idempotency-Key. */
const answersKeptMs = 24 * hourMs;
/** A client that was away longer reads the records. */
const eventsKeptMs = 7 * 24 * hourMs;

export async function cleanUp({ database, now }: Services): Promise<void> {
  const before = (milliseconds: number): Date => new Date(now().getTime() - milliseconds);
  await pruneIdempotencyKeys(database.prisma, before(answersKeptMs));
  await pruneEvents(database.prisma, before(eventsKeptMs));
}

/** Cleans from time to time until the function that it gives back is called. */
export function keepHouse(services: Services): () => void {
  const round = (): void => {
    cleanUp(services).catch((error: unknown) => {
      services.log.warn({ err: error }, 'old answers and events could not be removed');
    });
  };
  round();
  const timer = setInterval(round, intervalMs);
  return () => {
    clearInterval(timer);
  };
}
