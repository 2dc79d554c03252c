// The page of results is filled between its marks, and losses are listed.
import { expect, test } from 'vitest';
import { atMost, notMeasured, published } from './figure.ts';
import { filled } from './tables.ts';

const machine = { processor: 'p', cores: 2, memoryGib: 24, kernel: 'k', system: 's', storage: 'd', peers: ['fio'] };
const report = {
  ...{
    suite: 'rate',
    measuredAt: '2026-01-02T03:04:05Z',
    rounds: 5,
    seconds: 60,
    cells: [],
    plots: [],
    notes: ['A note.'],
  },
  figures: [
    atMost('settles', [300, 100, 250], 200, 'ms'),
    published('peer', [2000], 'ms'),
    notMeasured('other', '<= 1', 'why'),
  ],
};

test('only what stands between the marks changes', () => {
  const page = 'before\n<!-- results:rate -->\nstale words\n<!-- end -->\nafter\n<!-- results:cold -->\n<!-- end -->\n';
  const text = filled(page, { machine, suites: [report] });
  expect(text).toMatch(/^before\n<!-- results:rate -->\nMeasured 2026-01-02, 5 rounds, 60 s\./);
  expect(text).toContain('| settles | 250 ms (100 to 300) | <= 200 | missed |');
  expect(text).toContain('| peer | 2000 ms |  | published |');
  expect(text).toContain('<!-- results:cold -->\nNot measured yet.\n<!-- end -->');
  expect(text).not.toContain('stale words');
  expect(filled(text, { machine, suites: [report] })).toBe(text);
});

test('losses are listed, and what could not be measured is one', () => {
  const text = filled('<!-- results:losses -->\n<!-- end -->', { machine, suites: [report] });
  expect(text).toContain('| rate | settles | 250 ms (100 to 300) | <= 200 |');
  expect(text).toContain('| rate | other | not measured: why | <= 1 |');
  expect(text).not.toContain('peer');
});
