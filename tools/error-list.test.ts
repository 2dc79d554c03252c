// The page of errors is what the table of codes says.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { renderErrorList } from './error-list.ts';

test('docs/errors.md lists every error code as the table has it', () => {
  expect(readFileSync('docs/errors.md', 'utf8')).toBe(renderErrorList());
});
