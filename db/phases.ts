/**
 * Where each VM's migration is, and what follows from it for the migration that it belongs to. Written some twenty times per VM
 * by the workflows, so plain SQL with few round trips. It must not judge a phase: core and the workflows do.
 */
import type pg from 'pg';
import {
  MigrationError,
  isEnded,
  itsTurn,
  stateOfStep,
  statusOf,
  statusOfMembers,
  type FailureNote,
  type Reason,
  type State,
  type Status,
  type Step,
} from '../core/index.ts';
import type { Database } from './database.ts';
import { recordEvents } from './events.ts';
import { followPhase } from './phase-alarms.ts';

export interface PhaseChange {
  readonly step: Step;
  /** Defaults to the state that belongs to the step. */
  readonly state?: State;
  /** One that stays the same keeps the time since when it is so; otherwise that is `since`, or now. */
  readonly reason?: (Omit<Reason, 'since'> & { readonly since?: string }) | null;
  readonly waitingFor?: string | null;
  readonly failure?: (FailureNote & { readonly step: string }) | null;
  /** Do nothing unless the migration is in one of these steps: for those who report beside the workflow. */
  readonly onlyDuring?: readonly Step[];
  /** The step has not begun and waits when one of its sites is paused. */
  readonly mayWait?: boolean;
  /** It is said once more because it is tried once more: the trouble that is shown meanwhile stays. */
  readonly again?: boolean;
}

/** $1 id, $2 step, $3 state, $4 status, $5 waits for, $6 reason, $7 failure given, $8 failure, $9 now, $10 ended, $11 only during, $12 may wait, $13 waits for its turn, $14 said again. */
const writePhase = `
UPDATE vm_migration AS vm SET
  step = $2, state = $3, status = $4,
  waiting_for = CASE WHEN before.in_line THEN before.waiting_for ELSE $5 END,
  place = CASE WHEN before.in_line THEN before.place END,
  held_by_site = CASE WHEN $12 THEN before.paused_site IS NOT NULL ELSE vm.held_by_site END,
  reason = CASE WHEN $14 AND before.step = $2 AND $6::jsonb IS NULL THEN before.reason
    WHEN before.reason->>'code' = $6::jsonb->>'code'
    THEN $6::jsonb || jsonb_build_object('since', before.reason->'since') ELSE $6::jsonb END,
  failure = CASE WHEN $7 THEN $8::jsonb ELSE vm.failure END,
  started_at = coalesce(vm.started_at, CASE WHEN $4 <> 'Queued' THEN $9::timestamptz END),
  ready = NOT $10 AND (vm.ready OR $4 = 'Ready To Migrate'),
  ready_at = coalesce(vm.ready_at, CASE WHEN $4 = 'Ready To Migrate' THEN $9::timestamptz END),
  ended_at = coalesce(vm.ended_at, CASE WHEN $10 THEN $9::timestamptz END),
  updated_at = $9::timestamptz
FROM (
  SELECT one.*, $13 AND place IS NOT NULL AS in_line,
    CASE WHEN $12 THEN (
      SELECT name FROM site WHERE id IN (one.source_site_id, one.destination_site_id) AND paused_at IS NOT NULL
      ORDER BY name LIMIT 1
    ) END AS paused_site
  FROM vm_migration AS one WHERE id = $1 FOR UPDATE OF one
) AS before
WHERE vm.id = before.id AND ($11::text[] IS NULL OR before.step = ANY($11))
  AND (before.ended_at IS NULL OR $2 = 'ended')
RETURNING vm.migration_id AS "migrationId", vm.vm_name AS "vmName", vm.reason,
  vm.waiting_for AS "waitingFor", before.paused_site AS "pausedSite",
  before.status <> vm.status OR before.ended_at IS DISTINCT FROM vm.ended_at AS moved,
  (before.step, before.state) = (vm.step, vm.state) AND before.waiting_for IS NOT DISTINCT FROM vm.waiting_for
    AND before.reason->>'code' IS NOT DISTINCT FROM vm.reason->>'code' AS same`;

interface Written {
  readonly migrationId: string;
  readonly vmName: string;
  readonly reason: Reason | null;
  readonly waitingFor: string | null;
  readonly pausedSite: string | null;
  /** The migration may have another status now. */
  readonly moved: boolean;
  readonly same: boolean;
}

/**
 * Writes where the workflow is, and returns the name of the paused site that it has to wait for. Saying the same twice changes
 * nothing and tells nobody, and nothing changes what has ended: a step may say once more that it begins. Throws NOT_FOUND.
 */
export async function setPhase({ pool }: Database, id: string, change: PhaseChange): Promise<string | null> {
  const client = await pool.connect();
  let broken: Error | undefined;
  try {
    await client.query('BEGIN');
    const pausedSite = await write(client, id, change);
    await client.query('COMMIT');
    return pausedSite;
  } catch (error) {
    await client.query('ROLLBACK').catch((cause: Error) => {
      broken = cause;
    });
    throw error;
  } finally {
    client.release(broken);
  }
}

async function write(client: pg.ClientBase, id: string, change: PhaseChange): Promise<string | null> {
  const { step, onlyDuring, mayWait = false, again = false } = change;
  const state = change.state ?? stateOfStep(step);
  const status = statusOf(state);
  const now = new Date();
  const given = change.reason ?? null;
  const { rows } = await client.query<Written>({
    name: 'write-phase',
    text: writePhase,
    values: [
      id,
      step,
      state,
      status,
      change.waitingFor ?? null,
      given === null ? null : JSON.stringify({ since: now.toISOString(), ...given }),
      change.failure !== undefined,
      change.failure === undefined || change.failure === null ? null : JSON.stringify(change.failure),
      now,
      step === 'ended' && isEnded(status),
      onlyDuring ?? null,
      mayWait,
      // Admission says of what waits for its turn what that is.
      change.waitingFor === itsTurn,
      again,
    ],
  });
  const [written] = rows;
  if (written === undefined) {
    if (onlyDuring !== undefined || (await isThere(client, id))) return null;
    throw new MigrationError('NOT_FOUND', `There is no migration of a VM ${id}`);
  }
  const { migrationId, vmName, reason, waitingFor, pausedSite, moved, same } = written;
  const next = moved ? await refreshMigrationStatus(client, migrationId, now) : null;
  const ended = step === 'ended' && isEnded(status);
  const alarms = await followPhase(client, { id, migrationId, vmName, status, ended, failure: change.failure }, now);
  if (same && alarms.length === 0) return pausedSite;
  const data = { vmName, step, state, status, reason, waitingFor };
  await recordEvents(client, [
    ...(next === null ? [] : [{ type: 'migration.changed', migrationId, data: { status: next } } as const]),
    ...(same ? [] : [{ type: 'vm-migration.changed', migrationId, vmMigrationId: id, data } as const]),
    ...alarms,
  ]);
  return pausedSite;
}

async function isThere(client: pg.ClientBase, id: string): Promise<boolean> {
  const { rowCount } = await client.query('SELECT FROM vm_migration WHERE id = $1', [id]);
  return rowCount === 1;
}

/** Locked before the members are read: two that end at the same moment must not each take the other for running. */
const lockMigration = 'SELECT status FROM migration WHERE id = $1 FOR UPDATE';
const readMembers = `
SELECT status, bool_and(ended_at IS NOT NULL) AS ended FROM vm_migration WHERE migration_id = $1
GROUP BY status ORDER BY min(position)`;
const writeMigration = `
UPDATE migration SET status = $2, started_at = coalesce(started_at, CASE WHEN $2 <> 'Queued' THEN $3::timestamptz END),
  ended_at = CASE WHEN $4 THEN coalesce(ended_at, $3::timestamptz) END
WHERE id = $1`;

/** Sets the status of a migration from its members'; returns the new one when it is another. */
async function refreshMigrationStatus(client: pg.ClientBase, id: string, now: Date): Promise<Status | null> {
  const before = await client.query<{ status: Status }>({ name: 'lock-migration', text: lockMigration, values: [id] });
  const members = await client.query<{ status: Status; ended: boolean }>({
    name: 'read-members',
    text: readMembers,
    values: [id],
  });
  const status = statusOfMembers(members.rows.map((row) => row.status));
  const ended = members.rows.every((row) => row.ended);
  await client.query({ name: 'write-migration', text: writeMigration, values: [id, status, now, ended] });
  return status === before.rows[0]?.status ? null : status;
}
