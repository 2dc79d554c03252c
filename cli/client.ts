// Speaks REST: one function per HTTP verb, answers checked against the contract's schemas, problems thrown.
// Every POST carries an Idempotency-Key, so a lost answer may be asked for again without a second effect.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Agent, request, type Dispatcher } from 'undici';
import type { z } from 'zod';
import type { Configuration } from './configuration.ts';
import { CliError, ProblemError, errorOfAnswer } from './failure.ts';

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface ApiClient {
  readonly url: string;
  get<Body>(path: string, schema: z.ZodType<Body>, query?: Query): Promise<Body>;
  post<Body>(path: string, body: unknown, schema: z.ZodType<Body>): Promise<Body>;
  patch<Body>(path: string, body: unknown, schema: z.ZodType<Body>): Promise<Body>;
  delete(path: string): Promise<void>;
  /** Opens a stream of text; ends when the server ends it or the signal says so. */
  openStream(
    path: string,
    query: Query,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Buffer>>;
  close(): Promise<void>;
}

const attemptsMax = 4;
const answerTimeoutMs = 150_000;
/** How long an answer is waited for after the connection to it was lost. */
const lostAnswerMs = 150_000;

export function createClient({ url, token, authorityPem }: Configuration): ApiClient {
  const agent = new Agent({
    connect: authorityPem === undefined ? { timeout: 5_000 } : { ca: authorityPem, timeout: 5_000 },
    headersTimeout: answerTimeoutMs,
    bodyTimeout: answerTimeoutMs,
  });
  const address = (path: string, query: Query = {}): URL => {
    const target = new URL(`${url}/api/v1${path}`);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) target.searchParams.set(name, String(value));
    }
    return target;
  };

  async function exchange(
    method: Dispatcher.HttpMethod,
    path: string,
    query?: Query,
    body?: unknown,
  ): Promise<unknown> {
    const headers = {
      authorization: `Bearer ${token}`,
      accept: 'application/json, application/problem+json',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(method === 'POST' ? { 'idempotency-key': randomUUID() } : {}),
    };
    const startedAt = Date.now();
    for (let attempt = 1; ; attempt += 1) {
      try {
        const answer = await request(address(path, query), {
          method,
          headers,
          dispatcher: agent,
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        });
        const text = await answer.body.text();
        const parsed: unknown = text === '' ? undefined : safeParse(text);
        if (answer.statusCode < 400) return parsed;
        const failure = errorOfAnswer(answer.statusCode, parsed);
        const isOurs = attempt > 1 && isBusy(failure) && Date.now() - startedAt < lostAnswerMs;
        if (!isOurs && (answer.statusCode !== 503 || attempt >= attemptsMax)) throw failure;
      } catch (error) {
        if (!isConnectionError(error)) throw error;
        if (attempt >= attemptsMax) throw unreachable(url, error);
      }
      await sleep(Math.min(250 * 2 ** attempt, 4_000));
    }
  }

  return {
    url,
    get: async (path, schema, query) => schema.parse(await exchange('GET', path, query)),
    post: async (path, body, schema) => schema.parse(await exchange('POST', path, {}, body)),
    patch: async (path, body, schema) => schema.parse(await exchange('PATCH', path, {}, body)),
    delete: async (path) => void (await exchange('DELETE', path)),
    async openStream(path, query, headers, signal) {
      const answer = await request(address(path, query), {
        headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream', ...headers },
        dispatcher: agent,
        signal,
        bodyTimeout: 0,
      });
      if (answer.statusCode !== 200) throw errorOfAnswer(answer.statusCode, safeParse(await answer.body.text()));
      return answer.body;
    },
    close: () => agent.destroy(),
  };
}

/** Whether the API could not be spoken to at all, as against an answer that refuses. */
export function isConnectionError(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return false;
  return (
    error.code.startsWith('UND_ERR') ||
    error.code.startsWith('ECONN') ||
    error.code === 'EPIPE' ||
    isTlsCode(error.code)
  );
}

/** The first try is still being answered: its connection was lost, its work was not. */
function isBusy(error: Error): boolean {
  return error instanceof ProblemError && error.problem.code === 'IDEMPOTENCY_KEY_BUSY';
}

function unreachable(url: string, error: unknown): CliError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (isTlsCode(code)) {
    return new CliError(
      'The server’s certificate is not trusted',
      `${url} shows a certificate that the configured authority did not sign (${code}).`,
      'Name the authority’s certificate in LANDFALL_AUTHORITY_FILE, or use the cli.json of this installation.',
    );
  }
  return new CliError(
    'The API cannot be reached',
    `${url} does not answer${code === '' ? '' : ` (${code})`}.`,
    'Start it with "landfall up", or correct LANDFALL_URL.',
  );
}

function isTlsCode(code: string): boolean {
  return /CERT|SIGN|ERR_TLS|ERR_SSL/.test(code);
}

function safeParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
