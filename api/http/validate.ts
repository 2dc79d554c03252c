// Checks path, query and body of a request against the schemas of its route, all at once, so that one answer
// names everything that is wrong. Nothing unchecked goes further.
import type { Request } from 'express';
import type { z } from 'zod';
import type { ProblemError } from '../../contracts/rest.ts';
import { invalidInput, issuesToErrors } from './problems.ts';
import type { Route, RouteInput } from './route.ts';

export function validateRequest(route: Route, request: Request): RouteInput<unknown, unknown, unknown> {
  const errors: ProblemError[] = [];
  const check = (schema: z.ZodType | undefined, value: unknown, prefix: string): unknown => {
    if (schema === undefined) return undefined;
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    errors.push(...issuesToErrors(prefix, result.error.issues));
    return undefined;
  };
  if (route.body !== undefined && hasBody(request) && request.is('application/json') === false) {
    errors.push({ pointer: '#/header/Content-Type', message: 'must be application/json' });
  }
  const input = {
    params: check(route.params, request.params, '#/path'),
    query: check(route.query, request.query, '#/query'),
    body: errors.length > 0 ? undefined : check(route.body, (request.body as unknown) ?? {}, ''),
  };
  if (errors.length > 0) throw invalidInput(errors);
  return input;
}

function hasBody(request: Request): boolean {
  return request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0;
}
