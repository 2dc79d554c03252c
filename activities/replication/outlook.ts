/**
 * What is to be expected of one VM's migration while it is followed: projection, objectives at risk, and whether
 * its final begins by the rules. The judgements are core's; here they get their measurements.
 */
import {
  decideFinal,
  judgeObjectives,
  limits,
  projectDowntime,
  timeLeft,
  totalOf,
  type DowntimeHistory,
  type FinalDecision,
  type Projection,
} from '../../core/index.ts';
import type { JobStatus } from '../../dataplane/client/index.ts';
import { downtimeHistory, keepOutlook, readWishes, type Wishes } from '../../db/index.ts';
import type { Services } from '../services.ts';

export interface Outlook {
  readonly wishes: Wishes;
  readonly decision: FinalDecision;
}

/** Rates kept: with one every five seconds, the last five minutes. */
const ratesMax = 60;

/** Judges at most every `limits.outlookSeconds`, in between the last judgement stands. */
export function watchOutlook(services: Services, vmMigrationId: string): (status: JobStatus) => Promise<Outlook> {
  const { prisma } = services.database;
  const shrink: number[] = [];
  let history: DowntimeHistory | undefined;
  let seen: { atMs: number; remaining: number; readonly outlook: Outlook } | undefined;
  return async (status) => {
    const nowMs = Date.now();
    if (seen !== undefined && nowMs - seen.atMs < limits.outlookSeconds * 1000) return seen.outlook;
    history ??= await downtimeHistory(prisma);
    const remaining = remainingOf(status);
    if (seen !== undefined) shrink.push(((seen.remaining - remaining) * 1000) / (nowMs - seen.atMs));
    if (shrink.length > ratesMax) shrink.shift();
    const wishes = await readWishes(prisma, vmMigrationId);
    const projection = project(status, remaining, shrink, wishes, history);
    const judgements = judgeObjectives({
      projection,
      objectives: wishes.objectives,
      policy: wishes.policy,
      nowMs,
      elapsedSeconds: (nowMs - (wishes.startedAt?.getTime() ?? nowMs)) / 1000,
      limitedBy: status.limitedBy ?? null,
      replicationRate: wishes.replicationRate,
      writeThrottling: wishes.writeThrottling,
    });
    await keepOutlook(services.database, vmMigrationId, { projection, judgements }, new Date(nowMs));
    const outlook = { wishes, decision: decideFinal(wishes.policy, wishes.objectives, projection, nowMs) };
    seen = { atMs: nowMs, remaining, outlook };
    return outlook;
  };
}

function remainingOf({ disks }: JobStatus): number {
  return disks.reduce((sum, disk) => sum + Number(disk.remainingBytes) + Number(disk.dirtyBytes), 0);
}

function project(
  status: JobStatus,
  remaining: number,
  shrink: readonly number[],
  wishes: Wishes,
  history: DowntimeHistory,
): Projection {
  const parts = projectDowntime({
    drainSeconds: status.projected?.drainSeconds ?? null,
    compareSeconds: status.projected?.rehashSeconds ?? null,
    poweredOn: wishes.policy.mode !== 'manual',
    history,
  });
  const ready = status.ready.ready ? { p50Seconds: 0, p90Seconds: 0 } : timeLeft(remaining, shrink);
  return { ready, downtimeSeconds: parts === null ? null : totalOf(parts), downtimeParts: parts };
}
