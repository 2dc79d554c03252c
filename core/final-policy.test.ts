import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { autoFinal, decideFinal, manualFinal, type FinalPolicy } from './final-policy.ts';
import { noObjectives, type Objectives, type Projection } from './projection.ts';

const at = (time: string): number => Date.parse(`2026-11-21T${time}Z`);
const stop = (downtimeSeconds: number | null): Projection => ({
  ready: { p50Seconds: 0, p90Seconds: 0 },
  downtimeSeconds,
  downtimeParts: null,
});
const atMost = (downtimeSecondsMax: number): Objectives => ({ ...noObjectives, downtimeSecondsMax });
const night: FinalPolicy = {
  mode: 'window',
  windows: [{ from: '2026-11-21T22:00:00Z', until: '2026-11-21T23:00:00Z' }],
};

describe('final policy', () => {
  it('M5 manual waits for a person', () => {
    expect(decideFinal(manualFinal, noObjectives, null, 0)).toEqual({
      begin: false,
      waitingFor: 'the final migration to be started',
    });
  });

  it('M5 auto begins at once without objectives', () => {
    expect(decideFinal(autoFinal, noObjectives, null, 0)).toEqual({ begin: true });
  });

  it('M9 auto waits until the projected downtime fits', () => {
    expect(decideFinal(autoFinal, atMost(30), stop(31), 0)).toMatchObject({
      begin: false,
      waitingFor: 'the projected downtime to fit 30 s (now 31 s)',
    });
    expect(decideFinal(autoFinal, atMost(30), stop(null), 0)).toMatchObject({ begin: false });
    expect(decideFinal(autoFinal, atMost(30), stop(30), 0)).toEqual({ begin: true });
  });

  it('M9 a window is waited for, used, and not begun when the stop would outlast it', () => {
    expect(decideFinal(night, noObjectives, stop(60), at('21:00:00'))).toMatchObject({
      begin: false,
      waitingFor: 'the window that opens at 2026-11-21T22:00:00.000Z',
    });
    expect(decideFinal(night, noObjectives, stop(60), at('22:30:00'))).toEqual({ begin: true });
    expect(decideFinal(night, noObjectives, stop(600), at('22:55:00'))).toMatchObject({ begin: false });
    expect(decideFinal(night, noObjectives, stop(60), at('23:00:00'))).toMatchObject({ code: 'WINDOW_PASSED' });
  });

  it('M9 never begins outside every window', () => {
    const window = fc.tuple(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 1, max: 100 }));
    fc.assert(
      fc.property(
        fc.array(window, { maxLength: 5 }),
        fc.integer({ min: 0, max: 1100 }),
        fc.nat(200),
        (spans, now, s) => {
          const windows = spans.map(([from, length]) => ({
            from: new Date(from * 1000).toISOString(),
            until: new Date((from + length) * 1000).toISOString(),
          }));
          const decision = decideFinal({ mode: 'window', windows }, noObjectives, stop(s), now * 1000);
          const fits = spans.some(([from, length]) => from <= now && now + s <= from + length && from + length > now);
          expect(decision.begin).toBe(fits);
        },
      ),
    );
  });
});
