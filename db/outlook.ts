/** What a migration is to be judged by, and what is to be expected of it: one round trip each, once in some seconds. */
import {
  assumedDowntime,
  effectiveDials,
  type Dials,
  type DowntimeHistory,
  type FinalPolicy,
  type Judgement,
  type Objectives,
  type Projection,
} from '../core/index.ts';
import { keepObjectiveAlarms } from './alarms.ts';
import { json, type Database, type Db } from './database.ts';
import { findPausedSite } from './sites.ts';
import { getVmMigration } from './vm-migrations.ts';

/** What people want of a migration, as it is now. */
export interface Wishes {
  readonly policy: FinalPolicy;
  readonly objectives: Objectives;
  readonly paused: boolean;
  /** Name of a site of it that is paused: it stands still as well. */
  readonly pausedSite: string | null;
  readonly replicationRate: number;
  readonly writeThrottling: number;
  readonly startedAt: Date | null;
}

export async function readWishes(db: Db, id: string): Promise<Wishes> {
  const row = await getVmMigration(db, id);
  const { migration, paused, settings, startedAt } = row;
  const dials = effectiveDials(settings as Dials | null, migration.settings as unknown as Dials);
  return {
    policy: migration.final as unknown as FinalPolicy,
    objectives: migration.objectives as unknown as Objectives,
    paused,
    pausedSite: await findPausedSite(db, [row.sourceSiteId, row.destinationSiteId]),
    replicationRate: dials.replicationRate,
    writeThrottling: dials.writeThrottling,
    startedAt,
  };
}

interface Medians {
  readonly shut: number | null;
  readonly hand: number | null;
  readonly build: number | null;
  readonly on: number | null;
}

/** Medians of the last fifty finals; what was never seen is assumed. */
export async function downtimeHistory(db: Db): Promise<DowntimeHistory> {
  const [seen] = await db.$queryRaw<Medians[]>`
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM powered_off_at - stop_requested_at)) AS shut,
      percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM handed_over_at - frozen_at)) AS hand,
      percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM powered_on_at - handed_over_at)) AS build,
      percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM guest_ready_at - powered_on_at)) AS on
    FROM (SELECT * FROM vm_migration WHERE status = 'Completed' ORDER BY ended_at DESC LIMIT 50) AS lately`;
  return {
    shutDownSeconds: seen?.shut ?? assumedDowntime.shutDownSeconds,
    handOverSeconds: seen?.hand ?? assumedDowntime.handOverSeconds,
    buildSeconds: seen?.build ?? assumedDowntime.buildSeconds,
    powerOnSeconds: seen?.on ?? assumedDowntime.powerOnSeconds,
  };
}

/** Keeps the projection and what it puts at risk; people are called when that lasts. */
export async function keepOutlook(
  database: Database,
  id: string,
  outlook: { readonly projection: Projection; readonly judgements: readonly Judgement[] },
  now: Date,
): Promise<void> {
  const { projection, judgements } = outlook;
  const risks = judgements.flatMap(({ risk }) => (risk === null ? [] : [risk]));
  await database.transaction(async (db) => {
    // The row is held from here on: two supervisors of one migration judge one after the other.
    const data = { projection: json(projection), risks: json(risks) };
    const { migrationId, vmName, endedAt } = await db.vmMigration.update({ where: { id }, data });
    if (endedAt === null) await keepObjectiveAlarms(db, { id, migrationId, vmName }, judgements, now);
  });
}
