import { expect, test } from 'vitest';
import { formatBytes, formatRate, formatSeconds, parseByteRate, progressBar, table } from './format.ts';

test('bytes are shown in binary units', () => {
  expect([0, 1023, 1024, '2147483648', 25_000_000].map(formatBytes)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '2.0 GiB',
    '23.8 MiB',
  ]);
  expect(formatBytes(null)).toBe('-');
  expect(formatRate(8_000_000)).toBe('7.6 MiB/s');
});

test('durations are short', () => {
  expect([0.42, 42, 125, 7_260].map(formatSeconds)).toEqual(['0.4 s', '42 s', '2 min 5 s', '2 h 1 min']);
});

test('rates are read as people write them', () => {
  expect(['8MB/s', '10 MiB/s', '25000000', '1.5g', '0.5k'].map(parseByteRate)).toEqual([
    '8000000',
    '10485760',
    '25000000',
    '1500000000',
    '500',
  ]);
  expect(['fast', '-1', '10 parsecs'].map(parseByteRate)).toEqual([undefined, undefined, undefined]);
});

test('a bar is full at one and never longer', () => {
  expect([progressBar(0, 4), progressBar(0.5, 4), progressBar(2, 4)]).toEqual(['[----]', '[##--]', '[####]']);
});

test('columns line up', () => {
  expect(
    table(
      ['name', 'x'],
      [
        ['app-01', 'y'],
        ['a', 'long'],
      ],
    ),
  ).toBe('NAME    X\napp-01  y\na       long');
});
