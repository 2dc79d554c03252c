// Puts the route table behind HTTP: request ids, headers, limits, authentication, validation, handler, answer, problem.
// It knows no route by name.
import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from 'express';
import { randomUUID } from 'node:crypto';
import helmet from 'helmet';
import { pinoHttp } from 'pino-http';
import { MigrationError } from '../../core/index.ts';
import { docsStyleHash } from '../documents/docs-page.ts';
import type { Services } from '../services.ts';
import { authenticate } from './authenticate.ts';
import { performOnce } from './idempotency.ts';
import { sendProblem } from './problems.ts';
import { limitFailedLogins, limitRequests } from './rate-limits.ts';
import type { Answer, HandlerContext, Route } from './route.ts';
import { validateRequest } from './validate.ts';

const bodyBytesMax = 1024 * 1024;
/** Polled all the time and telling nothing: not logged when they succeed. */
const quietPaths = new Set(['/health']);

export interface AppOptions {
  /** Check every answer against its schema. For tests: it costs time and turns a sloppy answer into a 500. */
  readonly checkAnswers?: boolean;
  readonly requestsPerMinuteMax?: number;
  readonly failedLoginsPerMinuteMax?: number;
  /** Routes without tokens of their own kind, before all others. */
  readonly codec?: RequestHandler;
}

export function createApp(routes: readonly Route[], services: Services, options: AppOptions = {}): Express {
  const app = express();
  app.disable('x-powered-by');
  app.use(assignRequestId);
  app.use(httpLog(services));
  app.use(securityHeaders());
  app.use(limitFailedLogins(options.failedLoginsPerMinuteMax ?? 30));
  app.use(limitRequests(options.requestsPerMinuteMax ?? 1_200));
  if (options.codec !== undefined) app.use(options.codec);
  app.use(express.json({ limit: bodyBytesMax, strict: true }));
  for (const route of routes) {
    const path = route.path.replaceAll(/\{(\w+)\}/g, ':$1');
    app[route.method](path, serve(route, services, options.checkAnswers ?? false));
  }
  app.use((request) => {
    throw new MigrationError('NOT_FOUND', `There is nothing at ${request.method} ${request.path}.`, {
      remedy: 'The API reference at /docs lists every address.',
    });
  });
  app.use(failureHandler(services));
  return app;
}

function serve(route: Route, services: Services, checkAnswers: boolean): RequestHandler {
  return async (request, response) => {
    const principal = await authenticate(route, request, services);
    const input = validateRequest(route, request);
    const requestId = String(response.getHeader('X-Request-Id'));
    const log = request.log.child({ principalId: principal.id });
    const context: HandlerContext = { services, principal, requestId, claimId: null, log };
    if (route.stream !== undefined) {
      await route.stream({ ...input, body: undefined }, context, { request, response });
      return;
    }
    const { handler } = route;
    if (handler === undefined) throw new TypeError(`${route.operationId} has no handler`);
    const answer = await performOnce(route, request, context, (claimId) => handler(input, { ...context, claimId }));
    if (checkAnswers) assertAnswer(route, answer);
    sendAnswer(response, answer);
  };
}

function sendAnswer(response: Response, answer: Answer): void {
  response.set('Cache-Control', 'no-store');
  for (const [name, value] of Object.entries(answer.headers ?? {})) response.setHeader(name, value);
  if (answer.body === null) response.status(answer.status).end();
  else response.status(answer.status).json(answer.body);
}

function assertAnswer(route: Route, answer: Answer): void {
  const definition = route.responses[answer.status];
  if (definition === undefined)
    throw new TypeError(`${route.operationId} answered ${answer.status}, which it does not declare`);
  definition.schema?.parse(JSON.parse(JSON.stringify(answer.body)));
}

const assignRequestId: RequestHandler = (request, response, next) => {
  const given = request.headers['x-request-id'];
  const id = typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID();
  response.setHeader('X-Request-Id', id);
  next();
};

function httpLog({ log }: Services): RequestHandler {
  return pinoHttp({
    logger: log,
    genReqId: (_request, response) => String(response.getHeader('X-Request-Id')),
    autoLogging: { ignore: (request) => quietPaths.has(request.url ?? '') },
    // The failure itself is logged where the problem is made.
    customErrorObject: (_request, _response, _error, value: { err?: unknown }) => ({ ...value, err: undefined }),
    serializers: {
      req: (request: { id: unknown; method: string; url: string; remoteAddress: string }) => ({
        id: request.id,
        method: request.method,
        url: request.url.replace(/^\/codec\/[^/]+/, '/codec/…'),
        remoteAddress: request.remoteAddress,
      }),
      res: (response: { statusCode: number }) => ({ statusCode: response.statusCode }),
    },
  });
}

function securityHeaders(): RequestHandler {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        styleSrc: [docsStyleHash],
        frameAncestors: ["'none'"],
        baseUri: ["'none'"],
      },
    },
    strictTransportSecurity: { maxAge: 31_536_000, includeSubDomains: false },
  });
}

function failureHandler({ log }: Services): ErrorRequestHandler {
  return (error: unknown, request: Request, response, _next) => {
    const problem = sendProblem(request, response, error);
    if (problem.status >= 500) (request.log ?? log).error({ err: error, code: problem.code }, problem.title);
    else (request.log ?? log).info({ code: problem.code }, problem.title);
  };
}
