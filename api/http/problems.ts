// Every failure leaves the API as an RFC 9457 problem, made here and nowhere else.
// What is not of the error family loses its text: an unknown error may carry an address, a header or a password.
import type { Request, Response } from 'express';
import type { z } from 'zod';
import { problem, type Problem, type ProblemError } from '../../contracts/rest.ts';
import { MigrationError, errorCodes, isMigrationError } from '../../core/index.ts';
import { isDatabaseAway } from '../../db/index.ts';
import { isWorkflowEngineAway } from './unavailable.ts';

/** A refusal that names each field; `errors` come out as JSON pointers. */
export function invalidInput(errors: readonly ProblemError[], message?: string): MigrationError {
  const fallback = errors.map((error) => `${error.pointer}: ${error.message}`).join('; ');
  return new MigrationError('INVALID_INPUT', message ?? fallback, { details: { errors } });
}

/** Pointers for what zod found, under a prefix such as `` (body) or `#/query`. */
export function issuesToErrors(prefix: string, issues: readonly z.core.$ZodIssue[]): ProblemError[] {
  return issues.flatMap((issue) => {
    const keys = issue.code === 'unrecognized_keys' ? issue.keys : [undefined];
    return keys.map((key) => ({
      pointer: prefix + [...issue.path, ...(key === undefined ? [] : [key])].map(pointerPart).join(''),
      message: key === undefined ? messageOf(issue) : 'is not a field of this request',
    }));
  });
}

/** Why a key is wrong stands one level deeper. */
function messageOf(issue: z.core.$ZodIssue): string {
  const inner = issue.code === 'invalid_key' ? issue.issues[0] : undefined;
  return inner?.message ?? issue.message;
}

/** Turns anything thrown into the problem that the client sees. */
export function toProblem(error: unknown, request: { requestId: string; instance: string }): Problem {
  const known = toKnownError(error);
  const entry = errorCodes[known.code];
  const { errors } = known.details;
  return {
    type: `/docs#${known.code}`,
    title: entry.title,
    status: entry.httpStatus,
    detail: known.safeMessage,
    instance: request.instance,
    code: known.code,
    remedy: known.remedy,
    retry: known.retry,
    requestId: request.requestId,
    ...(Array.isArray(errors) ? { errors: problem.shape.errors.parse(errors) } : {}),
  };
}

/** Sends a problem with the headers that belong to its status. */
export function sendProblem(request: Request, response: Response, error: unknown): Problem {
  const requestId = String(response.getHeader('X-Request-Id') ?? '');
  const body = toProblem(error, { requestId, instance: request.originalUrl.split('?')[0] ?? request.path });
  if (response.headersSent) {
    response.destroy();
    return body;
  }
  if (body.status === 401) response.setHeader('WWW-Authenticate', 'Bearer realm="landfall"');
  if (body.status === 503 && !response.hasHeader('Retry-After')) response.setHeader('Retry-After', '5');
  response.status(body.status).type('application/problem+json').send(JSON.stringify(body));
  return body;
}

/** Whether a part of the installation was away, so that nobody knows how far the request came. */
export function isPassing(error: unknown): boolean {
  const { code } = toKnownError(error);
  return errorCodes[code].httpStatus === 503 || code === 'INTERNAL';
}

function toKnownError(error: unknown): MigrationError {
  if (isMigrationError(error)) return error;
  if (isBodyParserError(error)) {
    const tooLarge = error.type === 'entity.too.large';
    return invalidInput([{ pointer: '', message: tooLarge ? 'the body is too large' : 'the body is not valid JSON' }]);
  }
  // The engine first: what its client met on the network looks like the database's.
  if (isWorkflowEngineAway(error))
    return new MigrationError('WORKFLOW_ENGINE_UNAVAILABLE', undefined, { cause: error });
  if (isDatabaseAway(error)) return new MigrationError('DATABASE_UNAVAILABLE', undefined, { cause: error });
  return new MigrationError('INTERNAL', undefined, { cause: error });
}

function isBodyParserError(error: unknown): error is { type: string; status: number } {
  if (typeof error !== 'object' || error === null || !('type' in error) || !('status' in error)) return false;
  return (
    typeof error.type === 'string' && typeof error.status === 'number' && error.status >= 400 && error.status < 500
  );
}

function pointerPart(part: PropertyKey): string {
  return `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`;
}
