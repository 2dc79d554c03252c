/**
 * A worker as a function: runs workflows and activities against the installation that its environment names, until it is
 * told to stop. Prints one line of JSON when it is ready. It must not decide anything about a migration.
 */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DefaultLogger, NativeConnection, Runtime, Worker, type LogLevel } from '@temporalio/worker';
import { pino, type Logger } from 'pino';
import {
  activityInterceptor,
  makeActivities,
  productVersion,
  openServices,
  type Services,
  type WorkerSettings,
} from '../activities/index.ts';
import type { AllActivities } from '../contracts/activities.ts';
import { MigrationError } from '../core/index.ts';
import { controlTaskQueue } from '../temporal/index.ts';
import { encryptingConverter } from '../temporal/payload-codec.ts';
import { openKeyring, payloadKeysFile } from '../temporal/payload-keys.ts';
import { requireAuthority } from './home-authority.ts';
import { workerTuning } from './worker-tuning.ts';
import { buildIdOf, currentVersion, makeCurrent, pinnedTo } from './worker-version.ts';

const connectEveryMs = 1000;
/** Long enough to let go of jobs and sessions, shorter than the supervisor's patience. */
const shutdownGraceTime = '5 seconds';
const shutdownForceTime = '10 seconds';
/** One slot per supervised VM: they wait far more than they work. */
const activitiesMax = 400;

export interface WorkerOptions {
  /** Runs stay with the version that began them; without it every worker carries on every run. */
  readonly pinned: boolean;
  /** With `pinned`: its version is the one that new runs begin with, as soon as it is ready. */
  readonly current: boolean;
}

/** `activitiesOf` makes what the worker offers; whoever composes another worker may put something around it. */
export async function runWorker(
  activitiesOf: (services: Services) => AllActivities = makeActivities,
  { pinned, current }: WorkerOptions = { pinned: false, current: false },
): Promise<void> {
  const log = pino({ name: 'worker', redact: ['*.password', '*.secret', '*.enrolSecret'] }, pino.destination(2));
  installRuntime(log);
  const address = requireEnvironment('TEMPORAL_ADDRESS');
  const settings = readSettings();
  await requireAuthority(settings.home);
  const services = await openServices(settings);
  const dataConverter = encryptingConverter(await openKeyring(payloadKeysFile(settings.home)));
  const connection = await connectPatiently(address, log);
  try {
    const buildId = pinned ? buildIdOf(await productVersion(), requireBundle()) : undefined;
    if (!pinned) await refuseBesidePinned(connection);
    const worker = await Worker.create({
      connection,
      taskQueue: controlTaskQueue,
      ...workflowSource(),
      ...(buildId === undefined ? {} : { workerDeploymentOptions: pinnedTo(buildId) }),
      dataConverter,
      activities: activitiesOf(services),
      interceptors: { activity: [activityInterceptor(services, log)] },
      ...workerTuning,
      maxConcurrentActivityTaskExecutions: activitiesMax,
      shutdownGraceTime,
      shutdownForceTime,
    });
    // Only a worker that asks for work already makes its version known.
    const announced = announce(connection, buildId, current, log).catch((error: unknown) => {
      worker.shutdown();
      return error instanceof Error ? error : new Error('unknown reason');
    });
    await worker.run();
    const failure = await announced;
    if (failure !== undefined) throw failure;
  } finally {
    await connection.close();
    await services.close();
  }
}

/** Says that it is ready. The first pinned version is current at once: without a current one nothing would ever begin. */
async function announce(
  { workflowService }: NativeConnection,
  buildId: string | undefined,
  current: boolean,
  log: Logger,
): Promise<undefined> {
  const ready = { ready: true, taskQueue: controlTaskQueue };
  if (buildId === undefined) {
    process.stdout.write(`${JSON.stringify(ready)}\n`);
    return undefined;
  }
  const before = await currentVersion(workflowService);
  const takesOver = before === null || current;
  if (takesOver) await makeCurrent(workflowService, buildId);
  else if (before !== buildId) log.warn({ version: buildId, current: before }, 'New migrations go to another version');
  const shown = { ...ready, version: buildId, currentVersion: takesOver ? buildId : before };
  process.stdout.write(`${JSON.stringify(shown)}\n`);
  return undefined;
}

/** It would run and never be given anything. */
async function refuseBesidePinned({ workflowService }: NativeConnection): Promise<void> {
  const version = await currentVersion(workflowService);
  if (version === null) return;
  throw new MigrationError('SERVICE_START_FAILED', `The workers of this installation are pinned, now to ${version}`, {
    remedy: 'Start it with --pinned.',
  });
}

function readSettings(): WorkerSettings {
  return {
    databaseUrl: requireEnvironment('DATABASE_URL'),
    home: resolve(requireEnvironment('LANDFALL_HOME')),
    apiUrl: requireEnvironment('LANDFALL_API_URL'),
    build: resolve(process.env['LANDFALL_BUILD'] ?? 'build'),
    apiCertificateFile: process.env['LANDFALL_API_CERTIFICATE_FILE'],
  };
}

function requireEnvironment(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`${name} is not set`);
  return value;
}

const builtBundle = fileURLToPath(new URL('../workflow-bundle.js', import.meta.url));

/** What tells versions apart. */
function requireBundle(): string {
  if (existsSync(builtBundle)) return builtBundle;
  throw new Error('a pinned worker runs what was built; run "npm run build"');
}

/** A built bundle beside the program starts at once; from sources it is made at the start. */
function workflowSource(): { workflowBundle: { codePath: string } } | { workflowsPath: string } {
  if (existsSync(builtBundle)) return { workflowBundle: { codePath: builtBundle } };
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return { workflowsPath: fileURLToPath(new URL(`../workflows/index.${extension}`, import.meta.url)) };
}

/** The engine may start after us, or again under us. */
async function connectPatiently(address: string, log: Logger): Promise<NativeConnection> {
  for (;;) {
    try {
      return await NativeConnection.connect({ address });
    } catch {
      log.warn({ address }, 'The workflow engine does not answer yet');
      await new Promise((done) => setTimeout(done, connectEveryMs));
    }
  }
}

function installRuntime(log: Logger): void {
  const levels: Record<LogLevel, 'trace' | 'debug' | 'info' | 'warn' | 'error'> = {
    TRACE: 'trace',
    DEBUG: 'debug',
    INFO: 'info',
    WARN: 'warn',
    ERROR: 'error',
  };
  const logger = new DefaultLogger('INFO', ({ level, message, meta }) => log[levels[level]](meta ?? {}, message));
  Runtime.install({ logger });
}
