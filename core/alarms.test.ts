// The rule of alarms as properties over any course of looks: late to raise, late to end, never flapping.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextAlarm, type AlarmState, type Verdict } from './alarms.ts';
import { limits } from './limits.ts';

const verdict = fc.constantFrom<Verdict>('breached', 'near', 'fits', 'void');
/** Looks in time: each some seconds after the one before. */
const looks = fc.array(fc.tuple(verdict, fc.integer({ min: 0, max: 90 })), { maxLength: 80 });

interface Seen {
  readonly atMs: number;
  readonly verdict: Verdict;
  readonly state: AlarmState | null;
}

function follow(course: readonly (readonly [Verdict, number])[], fresh = (state: AlarmState | null) => state): Seen[] {
  let atMs = 1_000_000;
  let state: AlarmState | null = null;
  return course.map(([now, restSeconds]) => {
    atMs += restSeconds * 1000;
    state = nextAlarm(fresh(state), now, atMs);
    return { atMs, verdict: now, state };
  });
}
const isRaised = (seen: Seen | undefined): boolean => typeof seen?.state?.raisedAtMs === 'number';

describe('M9 alarms', () => {
  it('M9 are raised only after an unbroken breach of so many seconds', () => {
    fc.assert(
      fc.property(looks, (course) => {
        const seen = follow(course);
        for (const [index, look] of seen.entries()) {
          if (!isRaised(look) || isRaised(seen[index - 1])) continue;
          const since = seen.findLastIndex((earlier, at) => at < index && earlier.verdict !== 'breached') + 1;
          expect(look.atMs - (seen[since]?.atMs ?? 0)).toBeGreaterThanOrEqual(limits.alarmRaiseSeconds * 1000);
        }
      }),
    );
  });

  it('M9 end only after an unbroken fit of so many seconds, or when nobody asks any more', () => {
    fc.assert(
      fc.property(looks, (course) => {
        const seen = follow(course);
        for (const [index, look] of seen.entries()) {
          if (isRaised(look) || !isRaised(seen[index - 1]) || look.verdict === 'void') continue;
          const since = seen.findLastIndex((earlier, at) => at < index && earlier.verdict !== 'fits') + 1;
          expect(look.atMs - (seen[since]?.atMs ?? 0)).toBeGreaterThanOrEqual(limits.alarmClearSeconds * 1000);
        }
      }),
    );
  });

  it('M9 are raised at last, and end at last', () => {
    fc.assert(
      fc.property(looks, (course) => {
        const breach = ['breached', limits.alarmRaiseSeconds] as const;
        const fit = ['fits', limits.alarmClearSeconds] as const;
        const seen = follow([...course, ['breached', 1], breach, ['fits', 1], fit]);
        expect(isRaised(seen.at(-3))).toBe(true);
        expect(seen.at(-1)?.state).toBeNull();
      }),
    );
  });

  it('M9 are the same when whoever judges is started anew between any two looks, or judges twice', () => {
    fc.assert(
      fc.property(looks, (course) => {
        const kept = (state: AlarmState | null) => JSON.parse(JSON.stringify(state)) as AlarmState | null;
        expect(follow(course, kept)).toEqual(follow(course));
        for (const { state, verdict: again, atMs } of follow(course)) {
          if (state !== null) expect(nextAlarm(state, again, atMs)).toEqual(state);
        }
      }),
    );
  });
});
