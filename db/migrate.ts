/**
 * Applies the SQL of prisma/migrations in order and keeps book in Prisma's own table, so that
 * "prisma migrate deploy" can be used on the same database. One transaction per migration; an edited or
 * failed migration stops everything. It must not repair anything by itself.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { MigrationError } from '../core/index.ts';
import { isDatabaseAway } from './away.ts';

/** Prisma takes the same lock, so that the two runners exclude each other. */
const advisoryLock = 72_707_369;

const bookTable = `
CREATE TABLE IF NOT EXISTS _prisma_migrations (
    id                  VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum            VARCHAR(64) NOT NULL,
    finished_at         TIMESTAMPTZ,
    migration_name      VARCHAR(255) NOT NULL,
    logs                TEXT,
    rolled_back_at      TIMESTAMPTZ,
    started_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count INTEGER NOT NULL DEFAULT 0
)`;

interface SqlMigration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

interface BookRow {
  readonly migration_name: string;
  readonly checksum: string;
  readonly finished_at: Date | null;
  readonly rolled_back_at: Date | null;
}

/** Brings the database up to date and returns the names that were applied now. May be called any number of times. */
export async function migrate(databaseUrl: string, folder = shippedFolder()): Promise<readonly string[]> {
  const migrations = await readMigrations(folder);
  const client = new pg.Client({ connectionString: databaseUrl });
  // A lost connection fails the query; without a listener it ends the process as well.
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query('SELECT pg_advisory_lock($1)', [advisoryLock]);
    await client.query(bookTable);
    const rows = await client.query<BookRow>(
      'SELECT migration_name, checksum, finished_at, rolled_back_at FROM _prisma_migrations WHERE rolled_back_at IS NULL',
    );
    const waiting = pendingMigrations(migrations, rows.rows);
    for (const migration of waiting) await apply(client, migration);
    return waiting.map((migration) => migration.name);
  } finally {
    await client.end();
  }
}

/** What is left to do; throws when the book and the folder contradict each other. */
function pendingMigrations(migrations: readonly SqlMigration[], book: readonly BookRow[]): readonly SqlMigration[] {
  for (const row of book) {
    if (row.finished_at === null) {
      throw new MigrationError('SCHEMA_FAILED', `The database migration ${row.migration_name} failed earlier`);
    }
    const known = migrations.find((migration) => migration.name === row.migration_name);
    if (known !== undefined && known.checksum !== row.checksum) {
      throw new MigrationError('SCHEMA_EDITED', `${row.migration_name} was edited after it was applied`);
    }
  }
  return migrations.filter((migration) => !book.some((row) => row.migration_name === migration.name));
}

/** All of it or nothing, also when this process or the server dies in the middle; only a failure is written down by itself. */
async function apply(client: pg.Client, { name, sql, checksum }: SqlMigration): Promise<void> {
  const id = randomUUID();
  try {
    await client.query('BEGIN');
    await client.query(sql);
    await client.query(
      `INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)
       VALUES ($1, $2, $3, now(), 1)`,
      [id, checksum, name],
    );
    await client.query('COMMIT');
  } catch (error) {
    if (isDatabaseAway(error)) throw error;
    await client.query('ROLLBACK');
    const text = error instanceof Error ? error.message : 'unknown';
    await client.query('INSERT INTO _prisma_migrations (id, checksum, migration_name, logs) VALUES ($1, $2, $3, $4)', [
      id,
      checksum,
      name,
      text,
    ]);
    throw new MigrationError('SCHEMA_FAILED', `The database migration ${name} failed: ${text}`, { cause: error });
  }
}

/** The folder that was shipped with this program: beside the sources, or one up from the built files. */
function shippedFolder(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const folders = [join(here, '../prisma/migrations'), join(here, '../../prisma/migrations')];
  const folder = folders.find((candidate) => existsSync(candidate));
  if (folder === undefined) throw new Error(`No prisma/migrations beside ${here}`);
  return folder;
}

async function readMigrations(folder: string): Promise<readonly SqlMigration[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  return Promise.all(
    names.sort().map(async (name) => {
      const sql = await readFile(join(folder, name, 'migration.sql'), 'utf8');
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}
