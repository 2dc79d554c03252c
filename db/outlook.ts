/** What a migration is to be judged by, and what is to be expected of it: one round trip each, once in some seconds. */
import {
  assumedDowntime,
  effectiveDials,
  type Dials,
  type DowntimeHistory,
  type FinalPolicy,
  type Objectives,
  type Projection,
  type Risk,
} from '../core/index.ts';
import { json, type Db } from './database.ts';
import { recordEvent } from './events.ts';
import { findPausedSite } from './sites.ts';
import { getVmMigration } from './vm-migrations.ts';

/** What people want of a migration, as it is now. */
export interface Wishes {
  readonly policy: FinalPolicy;
  readonly objectives: Objectives;
  readonly paused: boolean;
  /** Name of a site of it that is paused: it stands still as well. */
  readonly pausedSite: string | null;
  readonly writeThrottling: number;
  readonly startedAt: Date | null;
}

export async function readWishes(db: Db, id: string): Promise<Wishes> {
  const row = await getVmMigration(db, id);
  const { migration, paused, settings, startedAt } = row;
  return {
    policy: migration.final as unknown as FinalPolicy,
    objectives: migration.objectives as unknown as Objectives,
    paused,
    pausedSite: await findPausedSite(db, [row.sourceSiteId, row.destinationSiteId]),
    writeThrottling: effectiveDials(settings as Dials | null, migration.settings as unknown as Dials).writeThrottling,
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

/** Keeps the projection; a risk that was not there before, and one that has gone, is told. */
export async function keepOutlook(
  db: Db,
  id: string,
  outlook: { readonly projection: Projection; readonly risks: readonly Risk[] },
): Promise<void> {
  const before = await getVmMigration(db, id);
  const known = new Set((before.risks as unknown as readonly Risk[]).map(({ code }) => code));
  const now = new Set(outlook.risks.map(({ code }) => code));
  const data = { projection: json(outlook.projection), risks: json(outlook.risks) };
  await db.vmMigration.update({ where: { id }, data });
  const { migrationId, vmName } = before;
  const tell = (state: 'at-risk' | 'safe', risk: Pick<Risk, 'code'>) =>
    recordEvent(db, 'vm-migration.objective', { migrationId, vmMigrationId: id, data: { vmName, state, ...risk } });
  for (const risk of outlook.risks) if (!known.has(risk.code)) await tell('at-risk', risk);
  for (const code of known) if (!now.has(code)) await tell('safe', { code });
}
