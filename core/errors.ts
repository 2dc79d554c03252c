/**
 * The one error family of the product. Every expected failure is a MigrationError with a stable code, a
 * message that is safe to show, a remedy and a retry class. Nothing may decide by matching message text.
 */
import { errorCodes, isErrorCode, type ErrorCode, type RetryClass } from './error-codes.ts';

export { errorCodes, isErrorCode, type ErrorCode, type RetryClass };

/** Plain values that may stand beside an error: ids, limits, names. Never a secret. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

interface MigrationErrorOptions {
  readonly remedy?: string | undefined;
  readonly retry?: RetryClass | undefined;
  readonly details?: ErrorDetails | undefined;
  readonly cause?: unknown;
}

/** An expected failure. `message` is safe to show to anybody who may see the object it is about. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
  readonly code: ErrorCode;
  readonly retry: RetryClass;
  readonly remedy: string;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, safeMessage?: string, options: MigrationErrorOptions = {}) {
    super(safeMessage ?? errorCodes[code].title, 'cause' in options ? { cause: options.cause } : undefined);
    this.code = code;
    this.retry = options.retry ?? errorCodes[code].retry;
    this.remedy = options.remedy ?? errorCodes[code].remedy;
    this.details = options.details ?? {};
  }

  get safeMessage(): string {
    return this.message;
  }
}

/** What is kept of a failure in records and events: enough to show, nothing that may hold a secret. */
export interface FailureNote {
  readonly code: ErrorCode;
  readonly message: string;
  readonly remedy: string;
}

export function isMigrationError(error: unknown): error is MigrationError {
  return error instanceof MigrationError;
}

export function hasCode(error: unknown, ...codes: readonly ErrorCode[]): error is MigrationError {
  return isMigrationError(error) && codes.includes(error.code);
}

export function isRetryable(error: unknown): boolean {
  return !isMigrationError(error) || error.retry === 'retryable';
}

/**
 * Turns anything thrown into the family. What we do not know becomes INTERNAL without its text, because
 * an unknown error may carry an address with a password or a header.
 */
export function toMigrationError(error: unknown): MigrationError {
  if (isMigrationError(error)) return error;
  return new MigrationError('INTERNAL', undefined, { cause: error });
}

export function failureNote(error: unknown): FailureNote {
  const known = toMigrationError(error);
  return { code: known.code, message: known.safeMessage, remedy: known.remedy };
}
