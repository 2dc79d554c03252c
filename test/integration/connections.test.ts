// Connections that are kept beside the pool: what becomes of them, and of what was done under them, when they are lost.
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { claimIdempotencyKey, holdPresence, openDatabase, type Database } from '../../db/index.ts';
import { keepConnected } from '../../db/keep-connected.ts';
import { createTestDatabase } from '../../tools/test-postgres.ts';

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
