/**
 * When a final migration begins by itself: never, as soon as its objectives allow, or that and only within
 * given hours. It judges; the workflow waits and asks again.
 */
import type { Objectives, Projection } from './projection.ts';

export type FinalMode = 'manual' | 'auto' | 'window';

/** Hours in which a final may begin. ISO 8601, UTC. */
export interface FinalWindow {
  readonly from: string;
  readonly until: string;
}

export interface FinalPolicy {
  readonly mode: FinalMode;
  /** Used by mode `window` only. */
  readonly windows: readonly FinalWindow[];
}

export const manualFinal: FinalPolicy = { mode: 'manual', windows: [] };
export const autoFinal: FinalPolicy = { mode: 'auto', windows: [] };

export type FinalDecision =
  | { readonly begin: true }
  | {
      readonly begin: false;
      /** Shown as what the migration waits for. */
      readonly waitingFor: string;
      /** Why, where that has a name of its own. */
      readonly code?: 'WINDOW_PASSED';
    };

/** Whether a migration that is ready begins its final at `nowMs`. */
export function decideFinal(
  policy: FinalPolicy,
  objectives: Objectives,
  projection: Projection | null,
  nowMs: number,
): FinalDecision {
  if (policy.mode === 'manual') return notYet('the final migration to be started');
  const downtime = projection?.downtimeSeconds ?? null;
  const { downtimeSecondsMax } = objectives;
  if (downtimeSecondsMax !== null && downtime === null) return notYet('a projection of the downtime');
  if (downtimeSecondsMax !== null && downtime !== null && downtime > downtimeSecondsMax) {
    const now = `now ${Math.ceil(downtime)} s`;
    return notYet(`the projected downtime to fit ${downtimeSecondsMax} s (${now})`);
  }
  if (policy.mode === 'auto') return { begin: true };
  return decideWindow(policy.windows, (downtime ?? 0) * 1000, nowMs);
}

/** A stop that would reach beyond the end of its window is not begun in it. */
function decideWindow(windows: readonly FinalWindow[], stopMs: number, nowMs: number): FinalDecision {
  const ahead = windows
    .map(({ from, until }) => ({ fromMs: Date.parse(from), untilMs: Date.parse(until) }))
    .filter(({ untilMs }) => untilMs > nowMs)
    .sort((a, b) => a.fromMs - b.fromMs);
  if (ahead.some(({ fromMs, untilMs }) => fromMs <= nowMs && nowMs + stopMs <= untilMs)) return { begin: true };
  const next = ahead.find(({ fromMs }) => fromMs > nowMs);
  if (next !== undefined) {
    return notYet(`the window that opens at ${new Date(next.fromMs).toISOString()}`);
  }
  const [open] = ahead;
  if (open !== undefined) return notYet('the stop to fit into what is left of the window');
  const waitingFor = 'another window, or the final migration to be started: the last window has passed';
  return { begin: false, waitingFor, code: 'WINDOW_PASSED' };
}

/** From a time to the first moment at which a stop of this length fits a window: 0 without windows, null for never. */
export function windowWaitSeconds({ mode, windows }: FinalPolicy, stopMs: number, fromMs: number): number | null {
  if (mode !== 'window') return 0;
  const begins = windows
    .map(({ from, until }) => ({ beginMs: Math.max(Date.parse(from), fromMs), untilMs: Date.parse(until) }))
    .filter(({ beginMs, untilMs }) => beginMs + stopMs <= untilMs)
    .map(({ beginMs }) => beginMs);
  return begins.length === 0 ? null : (Math.min(...begins) - fromMs) / 1000;
}

function notYet(waitingFor: string): FinalDecision {
  return { begin: false, waitingFor };
}
