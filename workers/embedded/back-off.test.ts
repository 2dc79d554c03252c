// The waits between restarts: short at first, longer with every failure in a row, never beyond the limit.
import { expect, test } from 'vitest';
import { restartDelayMs } from './back-off.ts';

test('a part that dies once is back quickly, one that keeps dying is tried every ten seconds', () => {
  expect([1, 2, 3, 4, 5, 6, 7, 50].map(restartDelayMs)).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
});
