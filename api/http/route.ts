// One entry of the route table. The table drives validation, scopes, the OpenAPI document and the reference page,
// so nothing about a route is said anywhere else. This file knows no route and touches no request.
import type { Request, Response } from 'express';
import type { Logger } from 'pino';
import type { z } from 'zod';
import type { Scope } from '../../contracts/rest.ts';
import type { ErrorCode } from '../../core/index.ts';
import type { Services } from '../services.ts';

/** Who asks. Audit rows hold the id, so tokens, users and single sign-on can share the column. */
export interface Principal {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
}

/** What a handler gets beside its validated input. */
export interface HandlerContext {
  readonly services: Services;
  readonly principal: Principal;
  readonly requestId: string;
  /** The same for every repeat of a request with an Idempotency-Key, also after a crash; null without a key. */
  readonly claimId: string | null;
  readonly log: Logger;
}

/** What a handler gives back; the body is sent as JSON, null sends none. */
export interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

interface ResponseDefinition {
  readonly description: string;
  /** Absent: no body, or one of another media type. */
  readonly schema?: z.ZodType;
  readonly mediaType?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface RouteFacts {
  readonly method: 'get' | 'post' | 'patch' | 'delete';
  /** With parameters as OpenAPI writes them: /api/v1/sites/{siteId}. */
  readonly path: string;
  /** Groups routes in the documents. */
  readonly tag: 'Sites' | 'Clusters' | 'Migrations' | 'Alarms' | 'Events' | 'Audit' | 'Tokens' | 'Installation';
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  /** What a token needs for it; null = open to everybody. */
  readonly scope: Scope | null;
  readonly responses: Readonly<Record<number, ResponseDefinition>>;
  /** Codes beyond those that every route may answer with. */
  readonly problems: readonly ErrorCode[];
  /** The answer holds a secret: a repeat with the same Idempotency-Key cannot be given it again. */
  readonly answersWithSecret?: boolean;
}

export interface RouteInput<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
}

interface RouteDefinition<Params, Query, Body> extends RouteFacts {
  readonly params?: z.ZodType<Params>;
  readonly query?: z.ZodType<Query>;
  readonly body?: z.ZodType<Body>;
  readonly handler: (input: RouteInput<Params, Query, Body>, context: HandlerContext) => Promise<Answer>;
}

interface StreamDefinition<Params, Query> extends RouteFacts {
  readonly params?: z.ZodType<Params>;
  readonly query?: z.ZodType<Query>;
  /** Writes the response itself; for streams and files only. */
  readonly stream: (
    input: RouteInput<Params, Query, undefined>,
    context: HandlerContext,
    http: { request: Request; response: Response },
  ) => Promise<void>;
}

/** A route whose types were checked when it was defined. */
export interface Route extends RouteFacts {
  readonly params?: z.ZodType;
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  readonly handler?: RouteDefinition<unknown, unknown, unknown>['handler'];
  readonly stream?: StreamDefinition<unknown, unknown>['stream'];
}

/** Adds a route to be put in the table; the handler's input has the types of the schemas. */
export function defineRoute<Params = undefined, Query = undefined, Body = undefined>(
  definition: RouteDefinition<Params, Query, Body>,
): Route {
  return definition as unknown as Route;
}

/** The same for a route that writes its response itself. */
export function defineStream<Params = undefined, Query = undefined>(
  definition: StreamDefinition<Params, Query>,
): Route {
  return definition as unknown as Route;
}

export const ok = (body: unknown): Answer => ({ status: 200, body });
export const created = (body: unknown, location: string): Answer => ({
  status: 201,
  body,
  headers: { Location: location },
});
export const accepted = (body: unknown, location: string): Answer => ({
  status: 202,
  body,
  headers: { Location: location },
});
export const noContent: Answer = { status: 204, body: null };
