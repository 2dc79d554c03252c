/**
 * What a new phase of a VM's migration means for its alarms, in the transaction that writes the phase: a failure calls people
 * until it is tried again or given up; objectives of what has ended are nobody's any more.
 */
import type pg from 'pg';
import { isEnded, type AlarmKind, type FailureNote, type Status } from '../core/index.ts';
import type { NewEvent } from './events.ts';
import { newId } from './new-id.ts';

interface Phase {
  readonly id: string;
  readonly migrationId: string;
  readonly vmName: string;
  readonly status: Status;
  readonly ended: boolean;
  /** Undefined says nothing of it; null is that it is over. */
  readonly failure: FailureNote | null | undefined;
}

interface Row {
  readonly id: string;
  readonly kind: AlarmKind;
  readonly code: string;
  readonly message: string;
  readonly help: readonly string[];
}

const told = 'id, kind, code, message, help';

/** What never was raised ends without a word. */
const endThem = `
WITH ended AS (
  UPDATE alarm SET cleared_at = $4 WHERE vm_migration_id = $1 AND kind = $2 AND cleared_at IS NULL AND code IS DISTINCT FROM $3
  RETURNING *
) SELECT ${told} FROM ended WHERE raised_at IS NOT NULL`;

/** The same failure twice is one alarm. */
const raiseIt = `
INSERT INTO alarm (id, kind, code, migration_id, vm_migration_id, message, help, breached_since, raised_at)
VALUES ($1, 'migration-error', $2, $3, $4, $5, $6::jsonb, $7, $7)
ON CONFLICT (vm_migration_id, kind, code) WHERE cleared_at IS NULL DO NOTHING RETURNING ${told}`;

/** Returns what is to be told, for the caller to write last. */
export async function followPhase(client: pg.ClientBase, phase: Phase, now: Date): Promise<readonly NewEvent[]> {
  const { id, migrationId, status, ended, failure } = phase;
  const events: NewEvent[] = [];
  const end = async (kind: AlarmKind, exceptCode: string | null): Promise<void> => {
    const { rows } = await client.query<Row>(endThem, [id, kind, exceptCode, now]);
    events.push(...rows.map((row) => eventOf('alarm.cleared', phase, row)));
  };
  if (ended) await end('objective-at-risk', null);
  if (failure === null || status === 'Terminated') await end('migration-error', null);
  else if (failure !== undefined && isEnded(status)) {
    await end('migration-error', failure.code);
    const { code, message, remedy } = failure;
    const values = [newId('alarm'), code, migrationId, id, message, JSON.stringify([remedy]), now];
    const { rows } = await client.query<Row>(raiseIt, values);
    events.push(...rows.map((row) => eventOf('alarm.raised', phase, row)));
  }
  return events;
}

function eventOf(type: 'alarm.raised' | 'alarm.cleared', { id, migrationId, vmName }: Phase, row: Row): NewEvent {
  const { id: alarmId, kind, code, message, help } = row;
  return { type, migrationId, vmMigrationId: id, data: { alarmId, kind, code, vmName, message, help } };
}
