/**
 * When an alarm is raised and when it is over. Whatever is measured wavers around its limit: an alarm is raised when it
 * has been over for a while, and ends when it has clearly fitted for a while. It must not know what is measured.
 */
import { limits } from './limits.ts';

export const alarmKinds = ['objective-at-risk', 'migration-error'] as const;
export type AlarmKind = (typeof alarmKinds)[number];

/**
 * `breached`: it does not fit. `near`: it fits, but by less than the margin. `fits`: it does. `void`: nobody asks for it
 * any more.
 */
export type Verdict = 'breached' | 'near' | 'fits' | 'void';

/** Plain data that is kept between two looks, so that a restart changes nothing. Milliseconds since 1970. */
export interface AlarmState {
  readonly breachedSinceMs: number;
  /** Null: not for long enough yet. */
  readonly raisedAtMs: number | null;
  /** Since when it has fitted again. */
  readonly fitsSinceMs: number | null;
}

/** The state after a look; null is no alarm, and none in the making. Judging the same moment twice changes nothing. */
export function nextAlarm(before: AlarmState | null, verdict: Verdict, nowMs: number): AlarmState | null {
  if (verdict === 'void') return null;
  if (before === null) {
    return verdict === 'breached' ? { breachedSinceMs: nowMs, raisedAtMs: null, fitsSinceMs: null } : null;
  }
  if (before.raisedAtMs === null) {
    if (verdict !== 'breached') return null;
    const isLong = nowMs - before.breachedSinceMs >= limits.alarmRaiseSeconds * 1000;
    return isLong ? { ...before, raisedAtMs: nowMs } : before;
  }
  if (verdict !== 'fits') return { ...before, fitsSinceMs: null };
  const fitsSinceMs = before.fitsSinceMs ?? nowMs;
  return nowMs - fitsSinceMs >= limits.alarmClearSeconds * 1000 ? null : { ...before, fitsSinceMs };
}
