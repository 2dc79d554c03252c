import { describe, expect, it } from 'vitest';
import {
  assumedDowntime,
  noObjectives,
  percentile,
  projectDowntime,
  risksOf,
  timeLeft,
  totalOf,
  type Projection,
} from './projection.ts';

const soon: Projection = { ready: { p50Seconds: 10, p90Seconds: 40 }, downtimeSeconds: 20, downtimeParts: null };
const facts = { objectives: noObjectives, projection: soon, elapsedSeconds: 100, limitedBy: null, writeThrottling: 0 };

describe('projection', () => {
  it('M9 gives P50 from the median rate and P90 from a bad one', () => {
    const rates = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100];
    expect(timeLeft(1000, rates)).toEqual({ p50Seconds: 20, p90Seconds: 100 });
    expect(timeLeft(0, [])).toEqual({ p50Seconds: 0, p90Seconds: 0 });
    expect(timeLeft(1000, [])).toEqual({ p50Seconds: null, p90Seconds: null });
    expect(timeLeft(1000, [-5, 10, 10])).toEqual({ p50Seconds: 100, p90Seconds: null });
    expect(percentile([], 0.5)).toBeNull();
  });

  it('M9 adds the parts of a stop, power-on only where it is asked for', () => {
    const parts = { drainSeconds: 2, compareSeconds: 1, history: assumedDowntime };
    const on = projectDowntime({ ...parts, poweredOn: true });
    const off = projectDowntime({ ...parts, poweredOn: false });
    expect(on && totalOf(on)).toBe(94);
    expect(off && totalOf(off)).toBe(49);
    expect(projectDowntime({ ...parts, drainSeconds: null, poweredOn: true })).toBeNull();
  });

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
});
