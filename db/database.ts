/**
 * The connection to Postgres: one pool, shared by Prisma (records) and plain SQL (hot paths). It must not
 * know any table; repositories beside it do.
 */
import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { MigrationError } from '../core/index.ts';
import { Prisma, PrismaClient } from '../generated/prisma/client.ts';

/** What repositories need: the client itself, or a transaction of it. */
export type Db = Prisma.TransactionClient;

export interface Database {
  readonly prisma: PrismaClient;
  readonly pool: pg.Pool;
  /** Runs everything in one transaction; throws whatever `work` throws and keeps nothing then. */
  transaction<T>(work: (db: Db) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Connections per process: 20 processes still fit Postgres' default of 100 for two of them each. */
const connectionsMax = 10;

export function openDatabase(url: string): Database {
  const pool = new pg.Pool({ connectionString: url, max: connectionsMax });
  // A connection that the server closes fails the query under way and is replaced at the next use. Without a listener it
  // ends the process, and the pool listens only while a connection is idle.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  const prisma = new PrismaClient({ adapter: new PrismaPg(pool, { disposeExternalPool: false }) });
  return {
    prisma,
    pool,
    transaction: (work) => prisma.$transaction(work, { maxWait: 10_000, timeout: 15_000 }),
    close: async () => {
      await prisma.$disconnect();
      await pool.end();
    },
  };
}

/** Only one request at a time adds a key. */
export const keyRotationLock = 72_707_371;

/** Until the end of the transaction nobody else holds this lock. */
export async function holdLock(db: Db, lock: number): Promise<void> {
  await db.$executeRaw`SELECT pg_advisory_xact_lock(${lock})`;
}

/** Whether a unique index refused the row. */
export function isUniqueViolation(error: unknown): boolean {
  return error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002';
}

/** Returns the row, or throws NOT_FOUND that names what was asked for. */
export function found<T>(row: T | null, kind: string, id: string): T {
  if (row === null) throw new MigrationError('NOT_FOUND', `There is no ${kind} ${id}`);
  return row;
}

/** A typed value for a JSON column. Undefined members vanish, as JSON has it. */
export function json(value: unknown): Prisma.InputJsonValue {
  return value as Prisma.InputJsonValue;
}

/** Null for a JSON column means SQL NULL, never the JSON value null. */
export function jsonOrNull(value: unknown): Prisma.InputJsonValue | typeof Prisma.DbNull {
  return value === null ? Prisma.DbNull : json(value);
}
