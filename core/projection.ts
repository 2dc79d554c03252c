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

/** An objective that will not be met as things are, and what could help. */
export interface Risk {
  readonly code: 'DURATION_AT_RISK' | 'DOWNTIME_AT_RISK';
  readonly message: string;
  readonly help: readonly string[];
}

/** What each limit of the replication leaves as a remedy. */
const helpByLimit: Readonly<Record<string, string>> = {
  'rate-limit': 'Raise the replication rate or the absolute limit.',
  'guest-yield': 'Raise the replication rate: background replication yields to the guest now.',
  network: 'The link is full: give it more bandwidth, or migrate fewer VMs at once.',
  window: 'The way is long: let more VMs share it, one alone cannot fill it.',
  'source-disk': 'The source disk is the limit: migrate at a quieter time.',
  'destination-disk': 'The destination datastore is the limit: choose a faster one or fewer VMs at once.',
};

export interface RiskFacts {
  readonly objectives: Objectives;
  readonly projection: Projection;
  /** Since the migration began. */
  readonly elapsedSeconds: number;
  readonly limitedBy: string | null;
  readonly writeThrottling: number;
}

/** Which objectives are at risk, judged by P90 and the projected stop. */
export function risksOf(facts: RiskFacts): readonly Risk[] {
  const { objectives, projection, elapsedSeconds } = facts;
  const help = helpByLimit[facts.limitedBy ?? ''];
  const throttle = facts.writeThrottling === 0 ? ['Turn on write throttling, so that less is written meanwhile.'] : [];
  const risks: Risk[] = [];
  const { targetDurationSeconds: target, downtimeSecondsMax: downtimeMax } = objectives;
  const { p90Seconds } = projection.ready;
  const expected = p90Seconds === null ? null : elapsedSeconds + p90Seconds + (projection.downtimeSeconds ?? 0);
  if (target !== null && (expected === null ? elapsedSeconds > target / 2 : expected > target)) {
    const when = expected === null ? 'when it ends cannot be foreseen' : `it needs ${Math.ceil(expected)} s`;
    const message = `The target duration of ${target} s is at risk: ${when}`;
    risks.push({ code: 'DURATION_AT_RISK', message, help: [...(help === undefined ? [] : [help]), ...throttle] });
  }
  const downtime = projection.downtimeSeconds;
  if (downtimeMax !== null && downtime !== null && downtime > downtimeMax) {
    const message = `The stop would take ${Math.ceil(downtime)} s; at most ${downtimeMax} s are allowed`;
    risks.push({ code: 'DOWNTIME_AT_RISK', message, help: [...throttle, ...longest(projection.downtimeParts)] });
  }
  return risks;
}

const helpByPart: Readonly<Record<keyof DowntimeParts, string>> = {
  shutDownSeconds: 'The guest’s own shut-down is the longest part: stop its applications before.',
  drainSeconds: 'Sending the rest is the longest part: begin when the guest writes less.',
  compareSeconds: 'Comparing is the longest part: it shrinks with what the guest writes.',
  handOverSeconds: 'The hand-over is the longest part: look at the link’s round trip time.',
  buildSeconds: 'Building the VM is the longest part: look at the load of the destination vCenter.',
  powerOnSeconds: 'Starting the guest is the longest part: give it more resources at the destination.',
};

function longest(parts: DowntimeParts | null): readonly string[] {
  if (parts === null) return [];
  const [first] = (Object.keys(helpByPart) as (keyof DowntimeParts)[]).sort((a, b) => parts[b] - parts[a]);
  return first === undefined ? [] : [helpByPart[first]];
}

/** Nearest rank; null of nothing. */
export function percentile(values: readonly number[], share: number): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null;
}
