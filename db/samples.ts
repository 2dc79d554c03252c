/**
 * Progress, once a second per running migration: the hot path, so plain SQL in one round trip. It writes
 * the sample, the totals on the VM's migration, the counters per disk, and one event.
 */
import type pg from 'pg';
import type { Dials, ProgressReport } from '../core/index.ts';
import { eventChannel, eventLock } from './events.ts';

export interface Sample {
  readonly at: Date;
  readonly copiedBytes: string;
  readonly remainingBytes: string;
  readonly dirtyBytes: string;
  readonly sentBytes: string;
  readonly wireBytes: string;
  readonly backgroundBytesPerSecond: number;
  readonly foregroundBytesPerSecond: number;
  readonly incomingBytesPerSecond: number;
  readonly wireBytesPerSecond: number;
}

const writeSample = `
WITH sample AS (
  INSERT INTO progress_sample (vm_migration_id, at, copied_bytes, remaining_bytes, dirty_bytes, sent_bytes,
    wire_bytes, background_bytes_per_second, foreground_bytes_per_second, incoming_bytes_per_second,
    wire_bytes_per_second)
  SELECT $1, ($2::jsonb->>'at')::timestamptz, ($2::jsonb->>'copiedBytes')::bigint,
    ($2::jsonb->>'remainingBytes')::bigint, ($2::jsonb->>'dirtyBytes')::bigint, ($2::jsonb->>'sentBytes')::bigint,
    ($2::jsonb->>'wireBytes')::bigint, ($2::jsonb#>>'{rates,backgroundBytesPerSecond}')::float8,
    ($2::jsonb#>>'{rates,foregroundBytesPerSecond}')::float8, ($2::jsonb#>>'{rates,incomingBytesPerSecond}')::float8,
    ($2::jsonb#>>'{rates,wireBytesPerSecond}')::float8
  ON CONFLICT DO NOTHING
), totals AS (
  UPDATE vm_migration SET progress = $2::jsonb, ready = $3, dials_in_force = coalesce($4::jsonb, dials_in_force)
  FROM migration WHERE vm_migration.id = $1 AND vm_migration.ended_at IS NULL AND migration.id = migration_id
  RETURNING migration_id, coalesce(vm_migration.settings, migration.settings) AS desired
), counters AS (
  UPDATE disk SET progress = given.value, background_state = given.value->>'backgroundState'
  FROM jsonb_array_elements($5::jsonb) AS given
  WHERE disk.vm_migration_id = $1 AND disk.source_uuid = given.value->>'sourceUuid'
), locked AS MATERIALIZED (
  SELECT migration_id, desired, pg_advisory_xact_lock(${eventLock}) FROM totals
), told AS (
  INSERT INTO event (type, migration_id, vm_migration_id, data)
  SELECT 'vm-migration.progress', migration_id, $1, $2::jsonb FROM locked RETURNING id
)
SELECT pg_notify('${eventChannel}', told.id::text), locked.desired FROM told, locked`;

/** Returns the dials that are wanted now, so that the writer notices a wish that did not arrive; null when it has ended. */
export async function recordProgress(
  pool: pg.Pool,
  vmMigrationId: string,
  report: ProgressReport,
): Promise<Dials | null> {
  const result = await pool.query<{ desired: Dials }>(writeSample, [
    vmMigrationId,
    JSON.stringify(report.vm),
    report.ready,
    report.dialsInForce === null ? null : JSON.stringify(report.dialsInForce),
    JSON.stringify(report.disks),
  ]);
  return result.rows[0]?.desired ?? null;
}

/** Samples of one VM's migration, oldest first; at most `limit`, taken evenly over the time asked for. */
export async function listSamples(
  pool: pg.Pool,
  vmMigrationId: string,
  range: { readonly from?: Date; readonly until?: Date; readonly limit: number },
): Promise<readonly Sample[]> {
  const result = await pool.query<Sample>(
    `SELECT at, copied_bytes::text AS "copiedBytes", remaining_bytes::text AS "remainingBytes",
       dirty_bytes::text AS "dirtyBytes", sent_bytes::text AS "sentBytes", wire_bytes::text AS "wireBytes",
       background_bytes_per_second AS "backgroundBytesPerSecond",
       foreground_bytes_per_second AS "foregroundBytesPerSecond",
       incoming_bytes_per_second AS "incomingBytesPerSecond", wire_bytes_per_second AS "wireBytesPerSecond"
     FROM (SELECT *, row_number() OVER (ORDER BY at) AS place, count(*) OVER () AS total
           FROM progress_sample WHERE vm_migration_id = $1
             AND at >= coalesce($2, '-infinity'::timestamptz) AND at <= coalesce($3, 'infinity'::timestamptz)) AS all_of
     WHERE place % greatest(1, ceil(total::float8 / $4)::bigint) = 0 OR place = total
     ORDER BY at`,
    [vmMigrationId, range.from ?? null, range.until ?? null, range.limit],
  );
  return result.rows;
}
