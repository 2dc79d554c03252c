// The runner of database migrations: all of one or nothing, and a failed one stops everything until it is looked at.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest';
import { isDatabaseAway, migrate } from '../../db/index.ts';
import { createEmptyDatabase } from '../../tools/test-postgres.ts';

const folder = mkdtempSync(join(tmpdir(), 'landfall-schema-'));
let url: string;
let client: pg.Client;
beforeAll(async () => {
  url = await createEmptyDatabase(inject('postgresUrl'));
  client = new pg.Client({ connectionString: url });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  rmSync(folder, { recursive: true });
});

function put(name: string, sql: string): void {
  mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(join(folder, name, 'migration.sql'), sql);
}

async function tables(): Promise<string[]> {
  const sql = `SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '\\_%' ORDER BY 1`;
  return (await client.query<{ tablename: string }>(sql)).rows.map(({ tablename }) => tablename);
}

test('each is applied once, in order', async () => {
  put('0001_first', 'CREATE TABLE first (x int);');
  put('0002_second', 'CREATE TABLE second (x int);');
  expect(await migrate(url, folder)).toEqual(['0001_first', '0002_second']);
  expect(await migrate(url, folder)).toEqual([]);
  expect(await tables()).toEqual(['first', 'second']);
});

test('one whose server or process dies in the middle leaves nothing, and the next start applies it', async () => {
  put('0003_third', 'CREATE TABLE third (x int); SELECT pg_sleep(60);');
  const failure = migrate(url, folder).catch((error: unknown) => error);
  const kill = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()`;
  await vi.waitFor(async () => expect((await client.query(kill)).rowCount).toBe(1), { timeout: 20_000 });
  expect(isDatabaseAway(await failure)).toBe(true);
  put('0003_third', 'CREATE TABLE third (x int);');
  expect(await migrate(url, folder)).toEqual(['0003_third']);
  expect(await tables()).toEqual(['first', 'second', 'third']);
});

test('an edited one is refused', async () => {
  put('0001_first', 'CREATE TABLE first (x int, y int);');
  await expect(migrate(url, folder)).rejects.toMatchObject({ code: 'SCHEMA_EDITED' });
  put('0001_first', 'CREATE TABLE first (x int);');
});

test('a failed one leaves nothing but its error, and stops every later start', async () => {
  put('0004_fourth', 'CREATE TABLE fourth (x int); SELECT * FROM nowhere;');
  await expect(migrate(url, folder)).rejects.toMatchObject({ code: 'SCHEMA_FAILED' });
  expect(await tables()).toEqual(['first', 'second', 'third']);
  put('0004_fourth', 'CREATE TABLE fourth (x int);');
  await expect(migrate(url, folder)).rejects.toMatchObject({ code: 'SCHEMA_FAILED' });
});
