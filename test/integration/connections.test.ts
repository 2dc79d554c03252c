// Connections to Postgres: what becomes of them, and of what was done under them, when they are lost.
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  claimIdempotencyKey,
  holdPresence,
  isDatabaseAway,
  openDatabase,
  whenDatabaseAnswers,
  type Database,
} from '../../db/index.ts';
import { keepConnected } from '../../db/keep-connected.ts';
import { createTestDatabase } from '../../tools/test-postgres.ts';
import { freePort } from '../../workers/embedded/ports.ts';

let testDatabase: Awaited<ReturnType<typeof createTestDatabase>>;
let database: Database;
beforeAll(async () => {
  testDatabase = await createTestDatabase();
  database = openDatabase(testDatabase.url);
});
afterAll(async () => {
  await database.close();
  await testDatabase.drop();
});

function urlNamed(name: string): string {
  const url = new URL(testDatabase.url);
  url.searchParams.set('application_name', name);
  return url.href;
}

async function connectionsNamed(name: string): Promise<number[]> {
  const sql = 'SELECT pid FROM pg_stat_activity WHERE application_name = $1';
  return (await database.pool.query<{ pid: number }>(sql, [name])).rows.map(({ pid }) => pid);
}

async function cut(name: string): Promise<void> {
  for (const pid of await connectionsNamed(name)) await database.pool.query('SELECT pg_terminate_backend($1)', [pid]);
}

test('a request that was left in an outage is taken up by a repeat to the same process', async () => {
  const presence = await holdPresence(urlNamed('presence'));
  const request = { principalId: 'tok_test', key: 'outage', requestSha256: 'abc' };
  const { claimId } = await claimIdempotencyKey(database, request, presence);
  await expect(claimIdempotencyKey(database, request, presence)).rejects.toMatchObject({
    code: 'IDEMPOTENCY_KEY_BUSY',
  });
  const { id } = presence;
  await cut('presence');
  await vi.waitFor(() => expect(presence.id).not.toBe(id), { timeout: 20_000 });
  expect(await claimIdempotencyKey(database, request, presence)).toEqual({ claimId });
  // It is this process's own again.
  await expect(claimIdempotencyKey(database, request, presence)).rejects.toMatchObject({
    code: 'IDEMPOTENCY_KEY_BUSY',
  });
  await presence.close();
});

test('one that is closed while it is opened again leaves no connection behind', async () => {
  let opened = 0;
  let goOn = (): void => undefined;
  const held = new Promise<void>((resolve) => (goOn = resolve));
  const again = vi.fn();
  const kept = await keepConnected(urlNamed('kept'), async () => (++opened === 1 ? undefined : held), again);
  await cut('kept');
  await vi.waitFor(() => expect(opened).toBe(2), { timeout: 20_000 });
  await kept.close();
  goOn();
  await vi.waitFor(async () => expect(await connectionsNamed('kept')).toEqual([]), { timeout: 5_000 });
  expect(again).not.toHaveBeenCalled();
});

test('one that is lost in the middle of a change fails that change, not the process', async () => {
  const own = openDatabase(urlNamed('changing'));
  const client = await own.pool.connect();
  await client.query('BEGIN');
  await cut('changing');
  // Without a listener for it the error of the connection itself would have ended this process by now.
  await vi.waitFor(async () => expect(await connectionsNamed('changing')).toEqual([]));
  const failure: unknown = await client.query('SELECT 1').catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(Error);
  client.release(true);
  expect((await own.pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  const waiting = own.pool.query('SELECT pg_sleep(30)').catch((error: unknown) => error);
  await vi.waitFor(async () => expect(await connectionsNamed('changing')).not.toEqual([]));
  await cut('changing');
  expect(isDatabaseAway(await waiting)).toBe(true);
  await own.close();
});

test('M10 what a start needs of a database that is away is done once it answers', async () => {
  const { hostname, port } = new URL(testDatabase.url);
  const awayUrl = new URL(testDatabase.url);
  awayUrl.port = String(await freePort());
  const away = vi.fn();
  const presence = whenDatabaseAnswers(() => holdPresence(awayUrl.href), away);
  await sleep(1_200);
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => to.destroy()).pipe(to);
    }
  });
  server.listen(Number(awayUrl.port), awayUrl.hostname);
  const held = await presence;
  expect(held.id).toBeGreaterThan(0n);
  expect(away).toHaveBeenCalledTimes(1);
  await held.close();
  server.close();
});

test('a database that answers with a refusal is not waited for', async () => {
  const wrong = new URL(testDatabase.url);
  wrong.pathname = '/not_there';
  const away = vi.fn();
  await expect(whenDatabaseAnswers(() => holdPresence(wrong.href), away)).rejects.toMatchObject({ code: '3D000' });
  expect(away).not.toHaveBeenCalled();
});
