/**
 * A whole installation in one home: starts its parts in order, keeps them running, stops them in the opposite order.
 * It must not know how it is told to start or stop, nor print anything: up.ts does.
 */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import { migrate } from '../db/index.ts';
import { searchAttributes } from '../temporal/index.ts';
import { codecSecret, openPayloadKeys, payloadKeysFile } from '../temporal/payload-keys.ts';
import type { HomeLock } from './embedded/home-lock.ts';
import { endsWithParent, type ReadyLine } from './embedded/launch.ts';
import { supervise, type Part, type PartSpec } from './embedded/part.ts';
import type { PartsFile } from './embedded/parts-file.ts';
import { choosePorts } from './embedded/ports.ts';
import { ensureDatabase, preparePostgres } from './embedded/postgres.ts';
import { findTemporalCli } from './embedded/temporal-cli.ts';
import { prepareNamespace } from './embedded/temporal-namespace.ts';
import { prepareTemporal } from './embedded/temporal.ts';
import { ensureAuthority } from './home-authority.ts';
import type { Places } from './places.ts';
import type { UpOptions } from './up-options.ts';

export interface Installation {
  /** What the API said in its ready line: its address, the file with the token, the first token if it made one. */
  readonly api: ReadyLine;
  /** Undefined with a Temporal server of the user's own. */
  readonly temporalUi: string | undefined;
}

/** The parts that run now, first started first. */
export interface RunningParts {
  readonly start: (spec: PartSpec) => Promise<ReadyLine>;
  /** Stops what runs, last started first. May be called while something is still starting. */
  readonly stopAll: () => Promise<void>;
}

export function runningParts(lock: HomeLock, file: PartsFile, say: (line: string) => void): RunningParts {
  const parts: Part[] = [];
  let stopped = false;
  return {
    start: (spec) => {
      if (stopped) return new Promise(() => undefined);
      const started = (pid: number): void => lock.note(spec.name, pid, spec.stopSignal);
      const part = supervise(spec, { say, started, changed: file.note });
      parts.push(part);
      return part.firstReady;
    },
    stopAll: async () => {
      stopped = true;
      for (const part of parts.splice(0).reverse()) await part.stop();
    },
  };
}

function prepareHome(home: string): void {
  // Postgres may run as another user and must pass through; everything private below has its own closed folder.
  mkdirSync(home, { recursive: true });
  chmodSync(home, 0o755);
  for (const folder of ['run', 'logs', 'temporal']) mkdirSync(join(home, folder), { recursive: true, mode: 0o700 });
}

/** API and worker run the same way from source and from dist/. */
function processSpec(name: 'api' | 'worker', places: Places, env: NodeJS.ProcessEnv): PartSpec {
  const entry = join(import.meta.dirname, `${name}${extname(import.meta.filename)}`);
  const [program, ...args] = [...endsWithParent('SIGTERM'), process.execPath, ...process.execArgv, entry];
  return {
    name,
    command: [program ?? process.execPath, ...args],
    env: { ...process.env, ...env },
    logFile: join(places.home, 'logs', `${name}.log`),
    stopSignal: 'SIGTERM',
    stopMsMax: 15_000,
    readyMsMax: 60_000,
  };
}

/** What a worker that runs elsewhere needs, as an environment file. It names the database with its password. */
function noteEnvironment(places: Places, env: NodeJS.ProcessEnv): void {
  const file = join(places.home, 'run', 'worker.env');
  rmSync(file, { force: true });
  const lines = Object.entries(env).map(([name, value]) => `${name}=${value ?? ''}\n`);
  writeFileSync(file, lines.join(''), { mode: 0o600 });
}

async function startDatabase(places: Places, port: number, given: string | undefined, parts: RunningParts) {
  if (given !== undefined) {
    await migrate(given);
    return given;
  }
  const embedded = preparePostgres({
    dataFolder: join(places.home, 'postgres'),
    passwordFile: join(places.home, 'run', 'postgres-password'),
    logFile: join(places.home, 'logs', 'postgres.log'),
    port,
  });
  await parts.start(embedded.spec);
  await ensureDatabase(embedded, 'landfall');
  const url = embedded.urlOf('landfall');
  await migrate(url);
  return url;
}

async function startTemporal(
  places: Places,
  ports: { temporal: number; temporalUi: number; codec: number },
  given: string | undefined,
  parts: RunningParts,
) {
  if (given !== undefined) {
    await prepareNamespace(given, searchAttributes, { embedded: false });
    return { address: given, ui: undefined };
  }
  const keys = await openPayloadKeys(payloadKeysFile(places.home));
  const embedded = prepareTemporal({
    cli: await findTemporalCli(process.env),
    dataFolder: join(places.home, 'temporal'),
    logFile: join(places.home, 'logs', 'temporal.log'),
    port: ports.temporal,
    uiPort: ports.temporalUi,
    codecEndpoint: `http://127.0.0.1:${ports.codec}/codec/${codecSecret(keys)}`,
  });
  await parts.start(embedded.spec);
  await prepareNamespace(embedded.address, searchAttributes, { embedded: true });
  return { address: embedded.address, ui: `http://127.0.0.1:${ports.temporalUi}` };
}

/** Starts everything and resolves when all of it answers. On failure the caller stops what runs. */
export async function startInstallation(
  places: Places,
  options: UpOptions,
  parts: RunningParts,
): Promise<Installation> {
  prepareHome(places.home);
  // Before the worker, which may be quicker than the API and makes none.
  await ensureAuthority(places.home);
  const ports = await choosePorts(join(places.home, 'run', 'ports.json'));
  const [databaseUrl, temporal] = await Promise.all([
    startDatabase(places, ports.postgres, options.databaseUrl, parts),
    startTemporal(places, ports, options.temporalAddress, parts),
  ]);
  const certificateFile = process.env['LANDFALL_API_CERTIFICATE_FILE'];
  const env = {
    DATABASE_URL: databaseUrl,
    TEMPORAL_ADDRESS: temporal.address,
    LANDFALL_HOME: places.home,
    LANDFALL_BUILD: places.build,
    LANDFALL_API_ADDRESS: options.apiAddress,
    LANDFALL_API_PORT: String(options.apiPort),
    LANDFALL_API_URL: process.env['LANDFALL_API_URL'] || `https://${options.apiAddress}:${options.apiPort}`,
    ...(certificateFile ? { LANDFALL_API_CERTIFICATE_FILE: resolve(certificateFile) } : {}),
    ...(temporal.ui === undefined
      ? {}
      : { LANDFALL_TEMPORAL_UI: temporal.ui, LANDFALL_CODEC_PORT: String(ports.codec) }),
  };
  noteEnvironment(places, env);
  const [api] = await Promise.all([
    parts.start(processSpec('api', places, env)),
    ...(options.withoutWorker ? [] : [parts.start(processSpec('worker', places, env))]),
  ]);
  return { api, temporalUi: temporal.ui };
}
