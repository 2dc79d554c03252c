/** MigrationErrors as Temporal carries them: the code is the failure's type, the retry class decides retrying. */
import {
  ActivityFailure,
  ApplicationFailure,
  TimeoutFailure,
  WorkflowExecutionAlreadyStartedError,
} from '@temporalio/common';
import { errorCodes, isErrorCode, type ErrorCode, type FailureNote, type MigrationError } from '../core/index.ts';

export function toApplicationFailure(error: MigrationError): ApplicationFailure {
  return ApplicationFailure.create({
    message: error.safeMessage,
    type: error.code,
    nonRetryable: error.retry !== 'retryable',
    details: [{ remedy: error.remedy }],
  });
}

/** A refusal from workflow code. */
export function refusal(code: ErrorCode, message: string): ApplicationFailure {
  return ApplicationFailure.create({
    message,
    type: code,
    nonRetryable: true,
    details: [{ remedy: errorCodes[code].remedy }],
  });
}

/** The step has not begun: a site of it is paused. */
export function sitePaused(site: string): ApplicationFailure {
  const { remedy } = errorCodes.SITE_PAUSED;
  const message = `The site ${site} is paused`;
  return ApplicationFailure.create({ message, type: 'SITE_PAUSED', nonRetryable: true, details: [{ remedy, site }] });
}

/** The site that a step has to wait for; null of every other failure. */
export function pausedSiteOf(failure: unknown): string | null {
  const cause = failure instanceof ActivityFailure ? failure.cause : failure;
  if (!(cause instanceof ApplicationFailure) || cause.type !== 'SITE_PAUSED') return null;
  return (cause.details?.[0] as { site?: string } | undefined)?.site ?? null;
}

/** What people are shown of a failure that reached a workflow. */
export function noteOf(failure: unknown): FailureNote {
  const cause = failure instanceof ActivityFailure ? (failure.cause ?? failure) : failure;
  if (cause instanceof ApplicationFailure && isErrorCode(cause.type)) {
    const remedy = (cause.details?.[0] as { remedy?: string } | undefined)?.remedy;
    return { code: cause.type, message: cause.message, remedy: remedy ?? errorCodes[cause.type].remedy };
  }
  if (cause instanceof TimeoutFailure && cause.cause !== undefined) return noteOf(cause.cause);
  return { code: 'INTERNAL', message: errorCodes.INTERNAL.title, remedy: errorCodes.INTERNAL.remedy };
}

export function hasFailureCode(failure: unknown, ...codes: readonly ErrorCode[]): boolean {
  return codes.includes(noteOf(failure).code);
}

/** Whether a workflow of this id runs already: a second start changed nothing. */
export function isAlreadyStarted(failure: unknown): boolean {
  return failure instanceof WorkflowExecutionAlreadyStartedError;
}
