import { expect, test } from 'vitest';
import {
  countedAt,
  median,
  pairedRatios,
  quantile,
  rounded,
  settledAfter,
  spreadOf,
  windowRates,
} from './statistics.ts';

test('the median of an even number of runs lies between the middle two', () => {
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([3, 1, 2])).toBe(2);
  expect(quantile([0, 10], 0.25)).toBe(2.5);
  expect(spreadOf([5, 1, 9])).toEqual({ median: 5, min: 1, max: 9 });
});

test('nothing measured is an error, not a zero', () => {
  expect(() => median([])).toThrow('nothing was measured');
  expect(() => pairedRatios([1], [0])).toThrow('round 1 is 0');
  expect(() => pairedRatios([1], [])).toThrow('1 measurements of ours, 0 of the peer');
});

test('ratios are taken round by round', () => {
  expect(pairedRatios([1, 8], [2, 4])).toEqual([0.5, 2]);
  expect(rounded(0.123456)).toBe(0.1235);
});

test('a counter is read between its samples', () => {
  const samples = [
    { seconds: 0, bytes: 0 },
    { seconds: 1, bytes: 100 },
    { seconds: 2, bytes: 100 },
  ];
  expect(countedAt(samples, 0.5)).toBe(50);
  expect(countedAt(samples, 9)).toBe(100);
  expect(windowRates(samples, 1, 0.5).map(({ bytes }) => bytes)).toEqual([100, 50, 0]);
});

test('a rate has settled when the count follows it from there on, piece by piece', () => {
  const counted = [0, 10, 20, 21, 23, 25, 27].map((bytes, at) => ({ seconds: at, bytes }));
  expect(settledAfter(counted, 2, 0.05, 0)).toBe(3);
  expect(settledAfter(counted, 2, 0.05, 1)).toBe(2);
  const never = [0, 10, 20].map((bytes, at) => ({ seconds: at, bytes }));
  expect(settledAfter(never, 2, 0.05, 1)).toBeUndefined();
});
