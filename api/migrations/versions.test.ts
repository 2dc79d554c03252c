import { expect, test } from 'vitest';
import { isOlder } from './versions.ts';

test.each([
  ['7.0.3', '8.0.0', true],
  ['8.0.2', '8.0.10', true],
  ['8.0.3.0', '8.0.3', false],
  ['8.0.3', '8.0.3.1', true],
  ['9.0', '8.0.3', false],
])('%s older than %s: %s', (first, second, expected) => {
  expect(isOlder(first, second)).toBe(expected);
});
