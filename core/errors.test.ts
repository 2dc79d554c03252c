import { describe, expect, it } from 'vitest';
import {
  MigrationError,
  errorCodes,
  failureNote,
  hasCode,
  isErrorCode,
  isRetryable,
  toMigrationError,
} from './errors.ts';

describe('MigrationError', () => {
  it('takes retry class and remedy from the table unless told otherwise', () => {
    const plain = new MigrationError('DATASTORE_FULL');
    expect(plain).toMatchObject({ retry: 'needs-operator', remedy: errorCodes.DATASTORE_FULL.remedy });
    expect(new MigrationError('DATASTORE_FULL', 'x', { retry: 'retryable' }).retry).toBe('retryable');
  });

  it('hides what an unknown error says: it may hold a secret', () => {
    const note = failureNote(new Error('https://user:secret@host refused'));
    expect(JSON.stringify(note)).not.toContain('secret');
    expect(note.code).toBe('INTERNAL');
    expect(toMigrationError('text').safeMessage).not.toContain('text');
  });

  it('answers questions by code, never by text', () => {
    const error = new MigrationError('NOT_READY', 'anything');
    expect([hasCode(error, 'NOT_READY'), hasCode(error, 'NOT_CLOSED'), hasCode('NOT_READY', 'NOT_READY')]).toEqual([
      true,
      false,
      false,
    ]);
    expect([isRetryable(error), isRetryable(new MigrationError('ROOTS_DIFFER'))]).toEqual([true, false]);
    expect([isErrorCode('NOT_READY'), isErrorCode('toString')]).toEqual([true, false]);
  });

  it('names a remedy, a title and an HTTP status for every code', () => {
    for (const [code, entry] of Object.entries(errorCodes)) {
      expect(code).toMatch(/^[A-Z0-9_]+$/);
      expect(entry.remedy).toMatch(/\.$/);
      expect(entry.title).not.toBe('');
      expect(entry.httpStatus).toBeGreaterThanOrEqual(400);
    }
  });
});
