/**
 * Alarms: what a person should look at, one row per breach. A row is written in the transaction of what it speaks of, so
 * that whoever is killed in the middle has neither raised nor forgotten anything.
 */
import { limits, nextAlarm, type AlarmKind, type AlarmState, type Judgement } from '../core/index.ts';
import type { Alarm, VmMigration } from '../generated/prisma/client.ts';
import { found, json, type Database, type Db } from './database.ts';
import { recordEvent, type NewEvent } from './events.ts';
import { newId } from './new-id.ts';

export type { Alarm };
export type AlarmDetails = Alarm & { readonly vmMigration: Pick<VmMigration, 'vmName'> };

type About = Pick<VmMigration, 'id' | 'migrationId' | 'vmName'>;

/** Carries the alarms of a VM's objectives on by one look. The caller holds the row of the VM's migration. */
export async function keepObjectiveAlarms(
  db: Db,
  about: About,
  judgements: readonly Judgement[],
  now: Date,
): Promise<void> {
  const kind: AlarmKind = 'objective-at-risk';
  const events: NewEvent[] = [];
  const open = await db.alarm.findMany({ where: { vmMigrationId: about.id, kind, clearedAt: null } });
  for (const { code, verdict, risk } of judgements) {
    const row = open.find((alarm) => alarm.code === code);
    const before = row === undefined ? null : stateOf(row);
    const after = nextAlarm(before, verdict, now.getTime());
    const text = risk === null ? {} : { message: risk.message, help: json(risk.help) };
    if (row !== undefined && after === null) events.push(...(await end(db, about, row, now)));
    if (after === null) continue;
    const times = timesOf(after);
    const changed =
      row === undefined
        ? await db.alarm.create({
            data: { id: newId('alarm'), kind, code, ...idsOf(about), message: '', help: [], ...text, ...times },
          })
        : await db.alarm.update({ where: { id: row.id }, data: { ...text, ...times } });
    if ((before === null || before.raisedAtMs === null) && changed.raisedAt !== null)
      events.push(eventOf('alarm.raised', about, changed));
  }
  await tell(db, events);
}

/** Newest first; those that never were raised are nobody's business. */
export function listAlarms(
  db: Db,
  filter: { readonly all: boolean; readonly limit: number; readonly beforeId?: string | undefined },
): Promise<AlarmDetails[]> {
  const { all, limit, beforeId } = filter;
  return db.alarm.findMany({
    where: {
      raisedAt: { not: null },
      ...(all ? {} : { clearedAt: null }),
      ...(beforeId === undefined ? {} : { id: { lt: beforeId } }),
    },
    orderBy: { id: 'desc' },
    take: Math.min(limit, limits.pageSizeMax),
    include: { vmMigration: { select: { vmName: true } } },
  });
}

/** A person has seen it. One that was ended already stays as it is; an objective that is still missed calls again. */
export async function acknowledgeAlarm(database: Database, id: string): Promise<AlarmDetails> {
  return database.transaction(async (db) => {
    const include = { vmMigration: true } as const;
    const row = found(await db.alarm.findUnique({ where: { id }, include }), 'alarm', id);
    await tell(db, await end(db, row.vmMigration, row, new Date()));
    return db.alarm.findUniqueOrThrow({ where: { id }, include });
  });
}

/** Ends it unless somebody else has. Returns what is to be told, for the caller to write last. */
async function end(db: Db, about: About, alarm: Alarm, now: Date): Promise<readonly NewEvent[]> {
  const { count } = await db.alarm.updateMany({ where: { id: alarm.id, clearedAt: null }, data: { clearedAt: now } });
  return count === 0 || alarm.raisedAt === null ? [] : [eventOf('alarm.cleared', about, alarm)];
}

/** After every other row: whoever holds the lock of the events waits for nobody. */
async function tell(db: Db, events: readonly NewEvent[]): Promise<void> {
  for (const { type, ...body } of events) await recordEvent(db, type, body);
}

function eventOf(type: 'alarm.raised' | 'alarm.cleared', about: About, alarm: Alarm): NewEvent {
  const { id, kind, code, message, help } = alarm;
  return { type, ...idsOf(about), data: { alarmId: id, kind, code, vmName: about.vmName, message, help } };
}

function idsOf({ id, migrationId }: About): { readonly migrationId: string; readonly vmMigrationId: string } {
  return { migrationId, vmMigrationId: id };
}

function stateOf({ breachedSince, raisedAt, fitsSince }: Alarm): AlarmState {
  const inMs = (time: Date | null): number | null => time?.getTime() ?? null;
  return { breachedSinceMs: breachedSince.getTime(), raisedAtMs: inMs(raisedAt), fitsSinceMs: inMs(fitsSince) };
}

function timesOf({ breachedSinceMs, raisedAtMs, fitsSinceMs }: AlarmState) {
  const inTime = (ms: number | null): Date | null => (ms === null ? null : new Date(ms));
  return { breachedSince: new Date(breachedSinceMs), raisedAt: inTime(raisedAtMs), fitsSince: inTime(fitsSinceMs) };
}
