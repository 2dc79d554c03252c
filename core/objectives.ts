/**
 * Whether a migration will meet what is asked of it: how far from its objectives it is, which part does not fit, and what
 * could help. Arithmetic over a projection; whether anybody is called is decided in alarms.ts.
 */
import type { Verdict } from './alarms.ts';
import { errorCodes } from './error-codes.ts';
import { windowWaitSeconds, type FinalPolicy } from './final-policy.ts';
import { limits } from './limits.ts';
import type { DowntimeParts, Objectives, Projection } from './projection.ts';

export const riskCodes = ['DURATION_AT_RISK', 'DOWNTIME_AT_RISK', 'WINDOW_PASSED'] as const;
export type RiskCode = (typeof riskCodes)[number];

/** Something that will not be met as things are, and what could help. */
export interface Risk {
  readonly code: RiskCode;
  readonly message: string;
  readonly help: readonly string[];
}

export interface RiskFacts {
  readonly objectives: Objectives;
  readonly policy: FinalPolicy;
  readonly projection: Projection;
  /** Since the migration began. */
  readonly elapsedSeconds: number;
  readonly nowMs: number;
  /** What the replicator says keeps it from being faster. */
  readonly limitedBy: string | null;
  readonly replicationRate: number;
  readonly writeThrottling: number;
}

/** What is said of one objective at one look. The risk is there while it is breached. */
export interface Judgement {
  readonly code: RiskCode;
  readonly verdict: Verdict;
  readonly risk: Risk | null;
}

/** One judgement for each code. */
export function judgeObjectives(facts: RiskFacts): readonly Judgement[] {
  const { targetDurationSeconds, downtimeSecondsMax } = facts.objectives;
  const tighter = (limit: number | null): number | null => (limit === null ? null : limit * (1 - limits.alarmMargin));
  const spare: Objectives = {
    targetDurationSeconds: tighter(targetDurationSeconds),
    downtimeSecondsMax: tighter(downtimeSecondsMax),
  };
  const judge = (code: RiskCode, isAsked: boolean, riskOf: (facts: RiskFacts) => Risk | null): Judgement => {
    const risk = isAsked ? riskOf(facts) : null;
    if (!isAsked) return { code, verdict: 'void', risk };
    if (risk !== null) return { code, verdict: 'breached', risk };
    return { code, verdict: riskOf({ ...facts, objectives: spare }) === null ? 'fits' : 'near', risk };
  };
  return [
    judge('DURATION_AT_RISK', targetDurationSeconds !== null, durationRisk),
    judge('DOWNTIME_AT_RISK', downtimeSecondsMax !== null, downtimeRisk),
    judge('WINDOW_PASSED', facts.policy.mode === 'window', windowRisk),
  ];
}

function durationRisk(facts: RiskFacts): Risk | null {
  const { objectives, projection, elapsedSeconds } = facts;
  const target = objectives.targetDurationSeconds ?? Number.POSITIVE_INFINITY;
  const { p90Seconds } = projection.ready;
  const wait = waitSeconds(facts);
  const expected = p90Seconds === null ? null : elapsedSeconds + p90Seconds + wait + (projection.downtimeSeconds ?? 0);
  if (expected === null ? elapsedSeconds <= target / 2 : expected <= target) return null;
  const limit = objectives.targetDurationSeconds ?? 0;
  const parts =
    expected === null
      ? 'the guest writes as fast as is sent, so its end cannot be foreseen'
      : `it needs ${whole(expected)} s: ${whole(elapsedSeconds)} s have passed, the copy needs ${whole(p90Seconds)} s` +
        `${wait > 0 ? `, its window opens ${whole(wait)} s after that` : ''}, the stop ${whole(projection.downtimeSeconds)} s`;
  const window =
    wait > (p90Seconds ?? 0) ? ['The wait for its window is the longest part: give it an earlier one.'] : [];
  return {
    code: 'DURATION_AT_RISK',
    message: `The target duration of ${whole(limit)} s is at risk: ${parts}`,
    help: [...window, ...fasterHelp(facts), ...throttleHelp(facts)],
  };
}

function downtimeRisk(facts: RiskFacts): Risk | null {
  const { downtimeSeconds: downtime, downtimeParts: parts } = facts.projection;
  const { downtimeSecondsMax: most } = facts.objectives;
  if (most === null || downtime === null || downtime <= most) return null;
  const [first, ...others] = longestFirst(parts);
  const because = first === undefined ? '' : `; ${helpByPart[first].part} takes ${whole(parts?.[first] ?? 0)} s of it`;
  const isData = first === 'drainSeconds' || first === 'compareSeconds' || others[0] === 'drainSeconds';
  return {
    code: 'DOWNTIME_AT_RISK',
    message: `The stop would take ${whole(downtime)} s; at most ${whole(most)} s are allowed${because}`,
    help: [...(first === undefined ? [] : [helpByPart[first].help]), ...(isData ? throttleHelp(facts) : [])],
  };
}

function windowRisk({ policy, nowMs }: RiskFacts): Risk | null {
  if (policy.windows.some(({ until }) => Date.parse(until) > nowMs)) return null;
  const { title, remedy } = errorCodes.WINDOW_PASSED;
  return { code: 'WINDOW_PASSED', message: title, help: [remedy] };
}

/** From ready to the window that is taken; a window that never comes is another risk. */
function waitSeconds({ policy, projection, nowMs }: RiskFacts): number {
  const readyMs = nowMs + (projection.ready.p90Seconds ?? 0) * 1000;
  return windowWaitSeconds(policy, (projection.downtimeSeconds ?? 0) * 1000, readyMs) ?? 0;
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

function fasterHelp({ limitedBy, replicationRate, projection }: RiskFacts): readonly string[] {
  const known = helpByLimit[limitedBy ?? ''];
  if (known !== undefined) return [known];
  if (replicationRate < 100 && (projection.ready.p90Seconds ?? 1) > 0) return ['Raise the replication rate.'];
  return [];
}

function throttleHelp({ writeThrottling }: RiskFacts): readonly string[] {
  if (writeThrottling === 0) return ['Turn on write throttling, so that less is written meanwhile.'];
  return writeThrottling < 100 ? ['Raise write throttling, so that less is written meanwhile.'] : [];
}

const helpByPart: Readonly<Record<keyof DowntimeParts, { readonly part: string; readonly help: string }>> = {
  shutDownSeconds: {
    part: 'the guest’s shut-down',
    help: 'The guest’s own shut-down is the longest part: stop its applications before.',
  },
  drainSeconds: {
    part: 'sending the rest',
    help: 'Sending the rest is the longest part: begin when the guest writes less.',
  },
  compareSeconds: { part: 'comparing', help: 'Comparing is the longest part: it shrinks with what the guest writes.' },
  handOverSeconds: {
    part: 'the hand-over',
    help: 'The hand-over is the longest part: look at the link’s round trip time.',
  },
  buildSeconds: {
    part: 'building the VM',
    help: 'Building the VM is the longest part: look at the load of the destination vCenter.',
  },
  powerOnSeconds: {
    part: 'starting the guest',
    help: 'Starting the guest is the longest part: give it more resources at the destination.',
  },
};

function longestFirst(parts: DowntimeParts | null): readonly (keyof DowntimeParts)[] {
  if (parts === null) return [];
  return (Object.keys(helpByPart) as (keyof DowntimeParts)[]).sort((a, b) => parts[b] - parts[a]);
}

function whole(seconds: number | null): number {
  return Math.ceil(seconds ?? 0);
}
