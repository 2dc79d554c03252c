/**
 * What is to be expected of a migration: when its copy is complete and how long its VM would stand still if
 * the final migration began now. Pure arithmetic over measured rates; nothing is promised that was not seen.
 */

/** Both ways of saying how long: as likely as not, and nearly certain. Seconds; null is not foreseeable. */
export interface Estimate {
  readonly p50Seconds: number | null;
  readonly p90Seconds: number | null;
}

/** The parts of a stop, in their order. Seconds. */
export interface DowntimeParts {
  readonly shutDownSeconds: number;
  readonly drainSeconds: number;
  readonly compareSeconds: number;
  readonly handOverSeconds: number;
  readonly buildSeconds: number;
  /** 0 where the destination is left off. */
  readonly powerOnSeconds: number;
}

export interface Projection {
  /** Until the migration is ready for its final. */
  readonly ready: Estimate;
  readonly downtimeSeconds: number | null;
  readonly downtimeParts: DowntimeParts | null;
}

/** What the user asked for. Null is no objective. */
export interface Objectives {
  /** From the start to the hand-over. */
  readonly targetDurationSeconds: number | null;
  readonly downtimeSecondsMax: number | null;
}

export const noObjectives: Objectives = { targetDurationSeconds: null, downtimeSecondsMax: null };

/** What the parts of a stop took before; the replicator's own projection replaces drain and compare. */
export type DowntimeHistory = Omit<DowntimeParts, 'drainSeconds' | 'compareSeconds'>;

/** Used until the installation has finals of its own: seen with Linux guests of 2 GiB. */
export const assumedDowntime: DowntimeHistory = {
  shutDownSeconds: 30,
  handOverSeconds: 1,
  buildSeconds: 15,
  powerOnSeconds: 45,
};

/**
 * Time until `remainingBytes` are gone, from rates at which they shrank lately: the median for P50, the
 * tenth percentile for P90. A rate that is not positive says that they do not shrink.
 */
export function timeLeft(remainingBytes: number, shrinkBytesPerSecond: readonly number[]): Estimate {
  if (remainingBytes <= 0) return { p50Seconds: 0, p90Seconds: 0 };
  const at = (share: number): number | null => {
    const rate = percentile(shrinkBytesPerSecond, share);
    return rate === null || rate <= 0 ? null : remainingBytes / rate;
  };
  return { p50Seconds: at(0.5), p90Seconds: at(0.1) };
}

export interface DowntimeFacts {
  /** The replicator's: null before it can say. */
  readonly drainSeconds: number | null;
  readonly compareSeconds: number | null;
  readonly poweredOn: boolean;
  readonly history: DowntimeHistory;
}

export function projectDowntime(facts: DowntimeFacts): DowntimeParts | null {
  const { drainSeconds, compareSeconds, poweredOn, history } = facts;
  if (drainSeconds === null || compareSeconds === null) return null;
  const powerOnSeconds = poweredOn ? history.powerOnSeconds : 0;
  return { ...history, powerOnSeconds, drainSeconds, compareSeconds };
}

export function totalOf(parts: DowntimeParts): number {
  const seconds: readonly number[] = Object.values(parts);
  return seconds.reduce((sum, part) => sum + part, 0);
}

/** Nearest rank; null of nothing. */
export function percentile(values: readonly number[], share: number): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}
