/**
 * Postgres for integration tests: one embedded server for the run (vitest's globalSetup), one migrated template, and a
 * clone of it per test file. It must not touch an installation's data; $LANDFALL_TEST_DATABASE_URL names a server to use instead.
 */
import { mkdirSync, mkdtempSync, rmSync, chmodSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';
import { migrate } from '../db/index.ts';
import { freePort } from '../workers/embedded/ports.ts';
import { supervise } from '../workers/embedded/part.ts';
import { preparePostgres } from '../workers/embedded/postgres.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Address of the maintenance database of the run's server. */
    postgresUrl: string;
  }
}

const template = 'landfall_template';

export interface TestPostgres {
  readonly url: string;
  readonly stop: () => Promise<void>;
}

/** An empty server in a folder of its own that goes away with it. */
export async function startTestPostgres(): Promise<TestPostgres> {
  const given = process.env['LANDFALL_TEST_DATABASE_URL'];
  if (given) return { url: given, stop: async () => undefined };
  const folder = mkdtempSync(join(tmpdir(), 'landfall-postgres-'));
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, 'logs'));
  const embedded = preparePostgres({
    dataFolder: join(folder, 'data'),
    passwordFile: join(folder, 'password'),
    logFile: join(folder, 'logs', 'postgres.log'),
    port: await freePort(),
    // The data of a test run need not survive a power loss.
    settings: ['fsync=off', 'full_page_writes=off'],
  });
  const part = supervise(embedded.spec, { say: (line) => console.error(line), started: () => undefined });
  await part.firstReady;
  return {
    url: embedded.urlOf('postgres'),
    stop: async () => {
      await part.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function databaseUrl(server: string, name: string): string {
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}

async function run(server: string, ...statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: server });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

/** Makes an empty database and gives its address. */
export async function createEmptyDatabase(
  server: string,
  name = `test_${randomUUID().replaceAll('-', '')}`,
): Promise<string> {
  await run(server, `create database ${name}`);
  return databaseUrl(server, name);
}

export interface TestDatabase {
  readonly url: string;
  readonly drop: () => Promise<void>;
}

/** For a test file's beforeAll: a fresh, migrated database of its own. `drop` in afterAll. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const server = inject('postgresUrl');
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await run(server, `create database ${name} template ${template}`);
  return { url: databaseUrl(server, name), drop: () => run(server, `drop database ${name} with (force)`) };
}

/** vitest's globalSetup. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startTestPostgres();
  await run(server.url, `drop database if exists ${template}`);
  await migrate(await createEmptyDatabase(server.url, template));
  project.provide('postgresUrl', server.url);
  return server.stop;
}
