// Starts one installation of Landfall (`landfall up`) in a folder of its own and speaks REST to it as any user would.
// For the demo and the tests. It reads what a user could read: the ready line and the token file.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { Agent, fetch } from 'undici';
import type { Problem } from '../../contracts/rest.ts';

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
    const free = await new Promise<boolean>((done) => {
      const server = createServer();
      server.once('error', () => {
        done(false);
      });
      server.listen(port, '127.0.0.1', () => {
        server.close(() => {
          done(true);
        });
      });
    });
    if (free) return port;
  }
  throw new Error(`No free port from ${String(first)} to ${String(first + 99)}`);
}

/** Starts `landfall up` in `home` and waits until the API answers. Its log goes to `home/up.log`. */
export async function startInstallation(options: {
  readonly home: string;
  readonly apiPort: number;
  readonly environment?: Readonly<Record<string, string>>;
}): Promise<Installation> {
  await mkdir(options.home, { recursive: true });
  const child = spawn(
    process.execPath,
    [resolve('dist/cli/main.js'), 'up', '--json', '--port', String(options.apiPort)],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.environment, LANDFALL_HOME: options.home },
    },
  );
  const log = createWriteStream(join(options.home, 'up.log'));
  child.stderr.pipe(log, { end: false });
  const ready = await readReadyLine(child, join(options.home, 'up.log'));
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
      await stopChild(child);
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

async function readReadyLine(child: ChildProcess, logFile: string): Promise<ReadyLine> {
  if (child.stdout === null) throw new Error('the installation has no standard output to read');
  const lines = createInterface({ input: child.stdout });
  const timeout = setTimeout(() => child.kill('SIGTERM'), READY_TIMEOUT_MS);
  try {
    for await (const line of lines) {
      if (!line.startsWith('{')) continue;
      const parsed = JSON.parse(line) as ReadyLine;
      if (parsed.ready) return parsed;
    }
  } finally {
    clearTimeout(timeout);
  }
  throw new Error(`Landfall ended before it was ready; its log is ${logFile}`);
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timeout = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await ended;
  clearTimeout(timeout);
}
