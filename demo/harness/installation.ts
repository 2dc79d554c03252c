// Starts one installation of Landfall (`landfall up`) in a folder of its own and speaks REST to it as any user would.
// For the demo and the tests. It reads what a user could read: the ready line and the token file.

import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Agent, fetch } from 'undici';
import type { Problem } from '../../contracts/rest.ts';
import { firstJsonLine, isFree, stopChild } from './child.ts';

const READY_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 30_000;

interface ReadyLine {
  readonly ready: boolean;
  readonly api: string;
  readonly temporalUi: string;
  readonly tokenFile: string;
}

interface CommandLineSettings {
  readonly url: string;
  readonly token: string;
  readonly authorityPem: string;
}

/** A REST call that was refused, with the problem document that says why and what to do. */
export class RefusedError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(`${problem.title}: ${problem.detail} (${problem.code}) ${problem.remedy}`);
    this.name = 'RefusedError';
    this.problem = problem;
  }
}

/** A running installation. */
export interface Installation {
  readonly home: string;
  readonly url: string;
  readonly temporalUi: string;
  /** One REST call under /api/v1; throws RefusedError on a problem document. */
  call<Answer>(method: string, path: string, body?: unknown, idempotencyKey?: string): Promise<Answer>;
  /** The process id of one of its parts (`api`, `worker`, `postgres`, `temporal`), for faults. */
  partPid(part: string): Promise<number>;
  stop(): Promise<void>;
}

/** The first port from `first` on that nobody listens on. */
export async function findFreePort(first: number): Promise<number> {
  for (let port = first; port < first + 100; port += 1) {
    if (await isFree('127.0.0.1', port)) return port;
  }
  throw new Error(`No free port from ${String(first)} to ${String(first + 99)}`);
}

/** Starts `landfall up` in `home` and waits until the API answers. Its log goes to `home/up.log`. */
export async function startInstallation(options: {
  readonly home: string;
  readonly apiPort: number;
  /** Somebody else starts the workers. */
  readonly withoutWorker?: boolean;
}): Promise<Installation> {
  await mkdir(options.home, { recursive: true });
  const args = ['up', '--json', '--port', String(options.apiPort)];
  if (options.withoutWorker === true) args.push('--without-worker');
  const child = spawn(process.execPath, [resolve('dist/cli/main.js'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LANDFALL_HOME: options.home },
  });
  const log = createWriteStream(join(options.home, 'up.log'));
  child.stderr.pipe(log, { end: false });
  const ready = await firstJsonLine<ReadyLine>(child, {
    timeoutMs: READY_TIMEOUT_MS,
    whenEnded: `Landfall ended before it was ready; its log is ${join(options.home, 'up.log')}`,
  });
  const settings = JSON.parse(await readFile(ready.tokenFile, 'utf8')) as CommandLineSettings;
  const dispatcher = new Agent({ connect: { ca: settings.authorityPem } });
  return {
    home: options.home,
    url: ready.api,
    temporalUi: ready.temporalUi,
    call: (method, path, body, idempotencyKey) =>
      call(dispatcher, ready.api, settings.token, { method, path, body, idempotencyKey }),
    partPid: (part) => readPartPid(options.home, part),
    stop: async () => {
      await dispatcher.close();
      await stopChild(child, STOP_TIMEOUT_MS);
    },
  };
}

/** `landfall up` notes the processes that it watches in `run/`. */
async function readPartPid(home: string, part: string): Promise<number> {
  const text = await readFile(join(home, 'run', `${part}.json`), 'utf8');
  return (JSON.parse(text) as { pid: number }).pid;
}

interface Request {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
  readonly idempotencyKey: string | undefined;
}

async function call<Answer>(dispatcher: Agent, url: string, token: string, request: Request): Promise<Answer> {
  const { method, path, body, idempotencyKey } = request;
  const response = await fetch(`${url}/api/v1${path}`, {
    method,
    dispatcher,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new RefusedError(JSON.parse(text) as Problem);
  return (text === '' ? null : JSON.parse(text)) as Answer;
}
