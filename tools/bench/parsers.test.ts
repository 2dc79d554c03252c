// What the peers and fio print is read right, and nonsense is an error and not a figure.
import { expect, test } from 'vitest';
import { latenciesIn, uniqueBytesIn } from './fio.ts';
import { literalBytesIn } from './peers.ts';

test("fio's latencies are read in microseconds, behind its warnings", () => {
  const percentile = { '50.000000': 25_000, '99.000000': 88_500 };
  const job = { error: 0, write: { iops: 30_000, clat_ns: { percentile } } };
  expect(latenciesIn(`fio: a warning\n${JSON.stringify({ jobs: [job] })}`)).toEqual({
    p50Us: 25,
    p99Us: 88.5,
    iops: 30_000,
  });
  expect(() => latenciesIn(JSON.stringify({ jobs: [{ ...job, error: 5 }] }))).toThrow('error 5');
  expect(() => latenciesIn('{"jobs":[{"error":0,"write":{"iops":0,"clat_ns":{}}}]}')).toThrow('wrote nothing');
});

test('a block that is written twice counts once, a long write counts all its blocks', () => {
  const log = [
    'fio version 3 iolog',
    '20 load.0.0 add',
    '21 load.0.0 open',
    '22 load.0.0 write 4096 4096',
    '23 load.0.0 write 4096 4096',
    '24 load.0.0 write 8192 16384',
  ].join('\n');
  expect(uniqueBytesIn(log)).toBe(5 * 4096);
});

test('rsync says what it sent', () => {
  expect(literalBytesIn('Number of files: 1\nLiteral data: 33,554,432 bytes\nMatched data: 1 bytes\n')).toBe(
    33_554_432,
  );
  expect(() => literalBytesIn('nothing')).toThrow('did not say');
});
