/**
 * That this process lives, for others to see in Postgres: an advisory lock under a number, held as long as its
 * connection. Without a clock and without beats: the server knows at once who is gone. Each connection has a number of its
 * own: what a process left behind when it lost one is anybody's from then on, so what it does must bear being done twice.
 */
import { randomBytes } from 'node:crypto';
import type { Db } from './database.ts';
import { keepConnected, type KeptConnection } from './keep-connected.ts';

export interface Presence extends KeptConnection {
  /** Of the present connection. */
  readonly id: bigint;
}

/** Seven bytes: far beyond the fixed numbers of other locks, and never negative. */
const idBytes = 7;

export async function holdPresence(url: string): Promise<Presence> {
  let id = 0n;
  const { close } = await keepConnected(url, async (client) => {
    const next = BigInt(`0x${randomBytes(idBytes).toString('hex')}`);
    await client.query('SELECT pg_advisory_lock($1)', [next.toString()]);
    id = next;
  });
  return {
    get id() {
      return id;
    },
    close,
  };
}

/** Call it in a transaction: until its end nobody else finds the same process gone. */
export async function isGone(db: Db, presenceId: bigint): Promise<boolean> {
  const [row] = await db.$queryRaw<{ gone: boolean }[]>`SELECT pg_try_advisory_xact_lock(${presenceId}) AS gone`;
  return row?.gone === true;
}
