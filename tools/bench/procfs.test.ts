import { expect, test } from 'vitest';
import { busySecondsIn, cpuSecondsIn, cpuSecondsOf, residentPeakBytesIn, residentPeakBytesOf } from './procfs.ts';

test('CPU seconds count user, system and ended children, whatever the process is called', () => {
  const stat = '42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 25 75 20 0 9 0 100 1 2';
  expect(cpuSecondsIn(stat)).toBe(3);
  expect(() => cpuSecondsIn('nothing')).toThrow('not the text of a stat file');
});

test('the peak of memory is in bytes, and missing for a zombie', () => {
  expect(residentPeakBytesIn('Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n')).toBe(2 * 1024 * 1024);
  expect(residentPeakBytesIn('Name:\tx\nState:\tZ (zombie)\n')).toBeUndefined();
});

test('the machine is busy in user, system and interrupts, not in idle and waiting', () => {
  expect(busySecondsIn('cpu  100 100 100 9000 9000 50 50 7 0 0\ncpu0 1 1 1 1\n')).toBe(4);
});

test('a living process can be asked', () => {
  expect(cpuSecondsOf(process.pid)).toBeGreaterThan(0);
  expect(residentPeakBytesOf(process.pid)).toBeGreaterThan(1024 * 1024);
});
