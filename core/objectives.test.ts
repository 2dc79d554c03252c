// Objectives: which are at risk, how sure that is, what is said about it.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { autoFinal, type FinalPolicy } from './final-policy.ts';
import { judgeObjectives, type Risk, type RiskFacts } from './objectives.ts';
import { assumedDowntime, noObjectives, projectDowntime, type Projection } from './projection.ts';

const soon: Projection = { ready: { p50Seconds: 10, p90Seconds: 40 }, downtimeSeconds: 20, downtimeParts: null };
const nowMs = Date.parse('2026-11-21T20:00:00Z');
const facts: RiskFacts = {
  objectives: noObjectives,
  policy: autoFinal,
  projection: soon,
  elapsedSeconds: 100,
  nowMs,
  limitedBy: null,
  replicationRate: 50,
  writeThrottling: 0,
};
const risksOf = (given: RiskFacts): readonly Risk[] => judgeObjectives(given).flatMap(({ risk }) => risk ?? []);
const windowed = (from: string, until: string): FinalPolicy => ({ mode: 'window', windows: [{ from, until }] });

describe('objectives', () => {
  it('M9 finds no risk without objectives, or when they will be met', () => {
    expect(risksOf(facts)).toEqual([]);
    expect(risksOf({ ...facts, objectives: { targetDurationSeconds: 160, downtimeSecondsMax: 20 } })).toEqual([]);
  });

  it('M9 says which objective is at risk and what could help', () => {
    const objectives = { targetDurationSeconds: 159, downtimeSecondsMax: 19 };
    const parts = projectDowntime({ drainSeconds: 60, compareSeconds: 1, poweredOn: false, history: assumedDowntime });
    const risks = risksOf({
      ...facts,
      objectives,
      limitedBy: 'rate-limit',
      projection: { ...soon, downtimeParts: parts },
    });
    expect(risks.map(({ code }) => code)).toEqual(['DURATION_AT_RISK', 'DOWNTIME_AT_RISK']);
    expect(risks[0]?.help[0]).toContain('replication rate');
    expect(risks[1]?.help.join(' ')).toContain('Sending the rest');
  });

  it('M9 what cannot be foreseen is a risk from half of the target on', () => {
    const projection = { ...soon, ready: { p50Seconds: null, p90Seconds: null } };
    const objectives = { ...noObjectives, targetDurationSeconds: 200 };
    expect(risksOf({ ...facts, projection, objectives })).toEqual([]);
    expect(risksOf({ ...facts, projection, objectives, elapsedSeconds: 101 })).toMatchObject([
      { code: 'DURATION_AT_RISK' },
    ]);
  });

  it('M9 names the part that does not fit', () => {
    const parts = projectDowntime({ drainSeconds: 60, compareSeconds: 1, poweredOn: false, history: assumedDowntime });
    const projection = { ...soon, downtimeParts: parts };
    const objectives = { targetDurationSeconds: 159, downtimeSecondsMax: 19 };
    const [duration, downtime] = risksOf({ ...facts, objectives, projection });
    expect(duration?.message).toContain('the copy needs 40 s');
    expect(downtime?.message).toContain('sending the rest takes 60 s of it');
    expect(downtime?.help).toContain('Turn on write throttling, so that less is written meanwhile.');
  });

  it('M9 counts the wait for a window, and asks for another one', () => {
    const objectives = { ...noObjectives, targetDurationSeconds: 1000 };
    const late = windowed('2026-11-21T22:00:00Z', '2026-11-21T23:00:00Z');
    const [risk] = risksOf({ ...facts, objectives, policy: late });
    expect(risk?.help[0]).toContain('give it an earlier one');
    expect(
      risksOf({ ...facts, objectives, policy: windowed('2026-11-21T20:01:00Z', late.windows[0]?.until ?? '') }),
    ).toEqual([]);
    const passed = windowed('2026-11-21T18:00:00Z', '2026-11-21T19:00:00Z');
    expect(risksOf({ ...facts, policy: passed }).map(({ code }) => code)).toEqual(['WINDOW_PASSED']);
  });

  it('M9 a tighter objective is never safer, and what fits with a margin is no risk', () => {
    const seconds = fc.integer({ min: 0, max: 5000 });
    const estimate = fc.option(seconds, { nil: null });
    const limit = fc.integer({ min: 1, max: 5000 });
    const order = { void: 0, fits: 1, near: 2, breached: 3 } as const;
    fc.assert(
      fc.property(
        seconds,
        estimate,
        estimate,
        limit,
        limit,
        fc.integer({ min: 0, max: 4999 }),
        (elapsed, p90, stop, duration, most, less) => {
          const projection = {
            ready: { p50Seconds: p90, p90Seconds: p90 },
            downtimeSeconds: stop,
            downtimeParts: null,
          };
          const judge = (by: number) =>
            judgeObjectives({
              ...facts,
              projection,
              elapsedSeconds: elapsed,
              objectives: { targetDurationSeconds: duration + by, downtimeSecondsMax: most + by },
            });
          const [loose, tight] = [judge(less), judge(0)];
          for (const [index, { verdict, risk }] of tight.entries()) {
            expect(order[verdict]).toBeGreaterThanOrEqual(order[loose[index]?.verdict ?? 'void']);
            expect(verdict === 'breached').toBe(risk !== null);
          }
        },
      ),
    );
  });
});
