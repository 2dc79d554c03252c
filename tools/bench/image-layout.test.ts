import { expect, test } from 'vitest';
import { bytesOf, mixedLayout, seeded, sparseLayout } from './image-layout.ts';

const mib = 1024 * 1024;
const shares = { hole: 0.25, zero: 0.15, system: 0.35, random: 0.25 };

test('a mixed disk is covered without gap or overlap, in the shares asked for', () => {
  const capacity = 512 * mib;
  const extents = mixedLayout(capacity, shares, 1);
  let end = 0;
  for (const { offset, length } of extents) {
    expect(offset).toBe(end);
    end = offset + length;
  }
  expect(end).toBe(capacity);
  expect(bytesOf(extents, 'hole') / capacity).toBeCloseTo(0.25, 2);
  expect(bytesOf(extents, 'zero') / capacity).toBeCloseTo(0.15, 2);
  expect(bytesOf(extents, 'system') / capacity).toBeCloseTo(0.35, 2);
});

test('the same seed gives the same disk, another one another', () => {
  expect(mixedLayout(64 * mib, shares, 7)).toEqual(mixedLayout(64 * mib, shares, 7));
  expect(mixedLayout(64 * mib, shares, 7)).not.toEqual(mixedLayout(64 * mib, shares, 8));
  expect(seeded(1)()).toBeLessThan(1);
});

test('the extents of a huge disk lie within it and do not overlap', () => {
  const capacity = 15 * 2 ** 40;
  const extents = sparseLayout(capacity, 64 * mib, 3);
  expect(bytesOf(extents, 'random')).toBe(64 * mib);
  extents.reduce((end, { offset, length }) => {
    expect(offset).toBeGreaterThanOrEqual(end);
    return offset + length;
  }, 0);
  expect(extents.at(-1)?.offset).toBeLessThan(capacity);
});
