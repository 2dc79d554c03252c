/**
 * Tells a database that is away from a fault of ours, and waits for one that is: it may start after us, or again under us.
 * It must not repeat anything for another reason.
 */
import { setTimeout as sleep } from 'node:timers/promises';

const againAfterMs = 500;

const networkCodes = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EHOSTUNREACH']);
/** Postgres: shutting down, starting up, too many connections, connection lost. Prisma: P1001, P1002, P1008, P1017. */
const databaseCodes = new Set([
  '57P01',
  '57P02',
  '57P03',
  '53300',
  '08006',
  '08001',
  'P1001',
  'P1002',
  'P1008',
  'P1017',
]);
/** The one thing that pg says without a code: the server's end of the connection is gone. */
const endedUnderUs = 'Connection terminated unexpectedly';

/** Whether this error, or what it comes from, says that Postgres cannot be reached now. */
export function isDatabaseAway(error: unknown): boolean {
  return chainOf(error).some((link) => {
    const code = codeOf(link);
    if (code === undefined) return link instanceof Error && link.message === endedUnderUs;
    return databaseCodes.has(code) || networkCodes.has(code);
  });
}

/**
 * Does `work`, again and again as long as the database is away; throws its other errors at once. It may have been done when
 * the answer was lost, so it must bear being done twice. `away` is called once, at the first failure.
 */
export async function whenDatabaseAnswers<T>(work: () => Promise<T>, away: (error: unknown) => void): Promise<T> {
  for (let told = false; ; told = true) {
    try {
      return await work();
    } catch (error) {
      if (!isDatabaseAway(error)) throw error;
      if (!told) away(error);
    }
    await sleep(againAfterMs);
  }
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** The error and what it says to come from: causes, parts of an aggregate, and what the database adapter met. */
function chainOf(error: unknown, depth = 0): unknown[] {
  if (typeof error !== 'object' || error === null || depth > 8) return [];
  const { cause, meta, errors } = error as {
    cause?: unknown;
    meta?: { driverAdapterError?: unknown };
    errors?: unknown;
  };
  const parts: unknown[] = [cause, meta?.driverAdapterError, ...(Array.isArray(errors) ? (errors as unknown[]) : [])];
  return [error, ...parts.flatMap((part) => chainOf(part, depth + 1))];
}
