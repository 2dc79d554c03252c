/**
 * What the suite `fleet` runs against: Postgres, a workflow engine (the embedded one, or a given one), and two worker
 * processes, so that what workflows cost is the processor time of one of them.
 */
import { resolve } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { migrate, openDatabase, type Database } from '../../../db/index.ts';
import { searchAttributes } from '../../../temporal/index.ts';
import { encryptingConverter } from '../../../temporal/payload-codec.ts';
import { openKeyring } from '../../../temporal/payload-keys.ts';
import { endsWithParent } from '../../../workers/embedded/launch.ts';
import { supervise, type Part } from '../../../workers/embedded/part.ts';
import { freePort } from '../../../workers/embedded/ports.ts';
import { ensureDatabase, preparePostgres } from '../../../workers/embedded/postgres.ts';
import { findTemporalCli } from '../../../workers/embedded/temporal-cli.ts';
import { prepareNamespace } from '../../../workers/embedded/temporal-namespace.ts';
import { prepareTemporal } from '../../../workers/embedded/temporal.ts';
import type { Scratch } from '../context.ts';
import { cpuSecondsOf, residentPeakBytesOf } from '../procfs.ts';

/** Compiled, as the product's worker is: what turns sources into programs while they run would be measured as well. */
const workerFile = resolve('dist/tools/bench/fleet/worker.js');
const hooks = { say: (line: string) => process.stderr.write(`${line}\n`), started: () => undefined };

export interface FleetInstallation {
  readonly client: Client;
  readonly database: Database;
  /** Processor seconds of the workflows' workers so far, the killed one included. */
  readonly workflowCpuSeconds: () => number;
  /** Most memory that one of them ever had resident. */
  readonly workflowMemoryPeakBytes: () => number;
  /** Kill -9; the supervisor starts it again. */
  readonly killWorkflows: () => void;
}

export interface FleetPlan {
  readonly scratch: Scratch;
  /** Takes what was started, so that the caller can stop it, also when this fails. */
  readonly parts: Part[];
  /** A workflow engine of the user's own instead of the embedded one. */
  readonly temporal: string | undefined;
  /** How long each simulated first copy takes, in milliseconds. */
  readonly copyMs: number;
}

export async function startFleet({ scratch, parts, temporal, copyMs }: FleetPlan): Promise<FleetInstallation> {
  const start = async (part: Part): Promise<void> => {
    parts.push(part);
    await part.firstReady;
  };
  const databaseUrl = await startDatabase(scratch, start);
  const address = temporal ?? (await startEngine(scratch, start));
  await prepareNamespace(address, searchAttributes, { embedded: temporal === undefined });
  const keysFile = scratch.file('payload-keys.json');
  const keys = await openKeyring(keysFile);
  const env = {
    ...process.env,
    TEMPORAL_ADDRESS: address,
    DATABASE_URL: databaseUrl,
    FLEET_KEYS: keysFile,
    LANDFALL_HOME: scratch.path,
    FLEET_COPY_MS: String(copyMs),
  };
  const [program = process.execPath, ...args] = [...endsWithParent('SIGKILL'), process.execPath];
  const pids: number[] = [];
  const past = { cpuSeconds: 0, memoryPeakBytes: 0 };
  const worker = (role: 'workflows' | 'activities'): Promise<void> =>
    start(
      supervise(
        {
          name: role,
          command: [program, ...args, workerFile, role],
          env,
          logFile: scratch.file(`${role}.log`),
          stopSignal: 'SIGTERM',
          stopMsMax: 15_000,
          readyMsMax: 60_000,
        },
        { ...hooks, started: (pid) => role === 'workflows' && pids.push(pid) },
      ),
    );
  await Promise.all([worker('workflows'), worker('activities')]);
  const newest = (): number => pids.at(-1) ?? 0;
  const connection = await Connection.connect({ address });
  return {
    client: new Client({ connection, dataConverter: encryptingConverter(keys) }),
    database: openDatabase(databaseUrl),
    workflowCpuSeconds: () => past.cpuSeconds + cpuSecondsOf(newest()),
    workflowMemoryPeakBytes: () => Math.max(past.memoryPeakBytes, residentPeakBytesOf(newest()) ?? 0),
    killWorkflows: () => {
      past.cpuSeconds += cpuSecondsOf(newest());
      past.memoryPeakBytes = residentPeakBytesOf(newest()) ?? 0;
      process.kill(newest(), 'SIGKILL');
    },
  };
}

async function startDatabase(scratch: Scratch, start: (part: Part) => Promise<void>): Promise<string> {
  const postgres = preparePostgres({
    dataFolder: scratch.file('postgres'),
    passwordFile: scratch.file('password'),
    logFile: scratch.file('postgres.log'),
    port: await freePort(),
  });
  await start(supervise(postgres.spec, hooks));
  await ensureDatabase(postgres, 'fleet');
  await migrate(postgres.urlOf('fleet'));
  return postgres.urlOf('fleet');
}

async function startEngine(scratch: Scratch, start: (part: Part) => Promise<void>): Promise<string> {
  const temporal = prepareTemporal({
    cli: await findTemporalCli(process.env),
    dataFolder: scratch.file('temporal'),
    logFile: scratch.file('temporal.log'),
    port: await freePort(),
  });
  await start(supervise(temporal.spec, hooks));
  return temporal.address;
}
