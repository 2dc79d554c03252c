// What each tool writes is counted right, and a tool that fails without a failing test is never counted as success.
import { expect, test } from 'vitest';
import { countResults } from './count-results.ts';

test('cargo: the results of all crates are added up', () => {
  const output = [
    'test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s',
    'test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s',
  ].join('\n');
  expect(countResults({ name: 'rust-test', count: 'cargo' }, output, 101)).toEqual({ passed: 15, failed: 2 });
});

test('go: tests are counted, their sub-tests are not', () => {
  const output = '--- PASS: TestA (0.00s)\n    --- PASS: TestA/one (0.00s)\n--- FAIL: TestB (0.00s)\nFAIL\n';
  expect(countResults({ name: 'go-test', count: 'go' }, output, 1)).toEqual({ passed: 1, failed: 1 });
});

test('a stage whose tool did not even start has failed', () => {
  expect(countResults({ name: 'rust-test', count: 'cargo' }, 'error: could not compile', 101)).toEqual({
    passed: 0,
    failed: 1,
  });
  expect(countResults({ name: 'no-such-report', count: 'vitest' }, '', 127)).toEqual({ passed: 0, failed: 1 });
  expect(countResults({ name: 'lint', count: 'one' }, '', 1)).toEqual({ passed: 0, failed: 1 });
});
