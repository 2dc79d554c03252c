import { expect, test } from 'vitest';
import { svgOf, ticks } from './svg.ts';

test('an axis has round numbers and reaches what it shows', () => {
  expect(ticks(1.9)).toEqual([0, 0.5, 1, 1.5, 2]);
  expect(ticks(100)).toEqual([0, 20, 40, 60, 80, 100]);
  expect(ticks(384)).toEqual([0, 100, 200, 300, 400]);
  expect(ticks(0)).toEqual([0, 1]);
});

test('bars name their systems, unit and medians, and text is escaped', () => {
  const bar = { system: 'ours & <theirs>', median: 1.25, min: 1, max: 2 };
  const text = svgOf({
    ...{ kind: 'bars', name: 'a', title: 'Rate', unit: 'GB/s' },
    groups: [{ label: 'mixed', bars: [bar] }],
  });
  for (const part of ['ours &amp; &lt;theirs&gt;', '>GB/s<', '>1.25<', '>mixed<', 'prefers-color-scheme: dark'])
    expect(text).toContain(part);
  expect(text.match(/<rect class="f0"/g)).toHaveLength(2);
  expect(text).not.toMatch(/NaN|Infinity/);
});

test('lines begin before 0 where their points do', () => {
  const points = [
    [-0.5, 100],
    [1, 20],
  ] as const;
  const text = svgOf({
    ...{ kind: 'lines', name: 'a', title: 'Change', xTitle: 'seconds', yTitle: 'MB/s' },
    series: [{ label: 'ours', points }],
  });
  expect(text).toContain('points="70,44 740,236"');
  expect(text).not.toMatch(/NaN|Infinity/);
});

test('a plot of nothing is still a picture', () => {
  const text = svgOf({ kind: 'bars', name: 'a', title: 'Nothing', unit: 's', groups: [] });
  expect(text).not.toMatch(/NaN|Infinity/);
});
