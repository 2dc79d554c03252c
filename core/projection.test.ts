import { describe, expect, it } from 'vitest';
import { assumedDowntime, percentile, projectDowntime, timeLeft, totalOf } from './projection.ts';

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
});
