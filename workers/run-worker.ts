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
  openServices,
  type Services,
  type WorkerSettings,
} from '../activities/index.ts';
import type { AllActivities } from '../contracts/activities.ts';
import { controlTaskQueue } from '../temporal/index.ts';
import { encryptingConverter } from '../temporal/payload-codec.ts';
import { openKeyring, payloadKeysFile } from '../temporal/payload-keys.ts';

const connectEveryMs = 1000;
/** Long enough to let go of jobs and sessions, shorter than the supervisor's patience. */
const shutdownGraceTime = '5 seconds';
const shutdownForceTime = '10 seconds';
/** One slot per supervised VM: they wait far more than they work. */
const activitiesMax = 400;

/** `activitiesOf` makes what the worker offers; whoever composes another worker may put something around it. */
export async function runWorker(activitiesOf: (services: Services) => AllActivities = makeActivities): Promise<void> {
  const log = pino({ name: 'worker', redact: ['*.password', '*.secret', '*.enrolSecret'] }, pino.destination(2));
  installRuntime(log);
  const address = requireEnvironment('TEMPORAL_ADDRESS');
  const settings = readSettings();
  const services = await openServices(settings);
  const dataConverter = encryptingConverter(await openKeyring(payloadKeysFile(settings.home)));
  const connection = await connectPatiently(address, log);
  try {
    const worker = await Worker.create({
      connection,
      taskQueue: controlTaskQueue,
      ...workflowSource(),
      dataConverter,
      activities: activitiesOf(services),
      interceptors: { activity: [activityInterceptor(services, log)] },
      maxConcurrentActivityTaskExecutions: activitiesMax,
      shutdownGraceTime,
      shutdownForceTime,
    });
    process.stdout.write(`${JSON.stringify({ ready: true, taskQueue: controlTaskQueue })}\n`);
    await worker.run();
  } finally {
    await connection.close();
    await services.close();
  }
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

/** A built bundle beside the program starts at once; from sources it is made at the start. */
function workflowSource(): { workflowBundle: { codePath: string } } | { workflowsPath: string } {
  const built = fileURLToPath(new URL('../workflow-bundle.js', import.meta.url));
  if (existsSync(built)) return { workflowBundle: { codePath: built } };
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
