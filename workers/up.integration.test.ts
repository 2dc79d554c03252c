// `landfall up` as a user has it: parts that die come back and the API says so, a killed supervisor leaves nothing behind, a
// second one is refused, and a restart finds the same data. Needs what tools/setup makes; uses a home and ports of its own.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, chmodSync, readdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { Agent, fetch } from 'undici';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { installation, type InstallationPart } from '../contracts/rest.ts';
import { environmentOf } from '../test/helpers/worker-environment.ts';
import { freePort } from './embedded/ports.ts';
import { isAlive, type ProcessIdentity } from './embedded/process-identity.ts';

const parts = ['postgres', 'temporal', 'api', 'worker'] as const;
/** Patience of a machine that does ten other things; how long it takes on a quiet one, the bench says. */
const untilMsMax = 120_000;
const home = mkdtempSync(join(tmpdir(), 'landfall-up-'));
let port: number;

vi.setConfig({ testTimeout: untilMsMax });

interface Up {
  readonly child: ChildProcess;
  readonly lines: string[];
  readonly ready: Record<string, unknown>;
}

function spawnUp(): ChildProcess {
  const own = { LANDFALL_HOME: home, DATABASE_URL: '', TEMPORAL_ADDRESS: '' };
  // Without a key beside it the API goes on with its own.
  const env = { ...process.env, ...own, LANDFALL_API_CERTIFICATE_FILE: 'certificate.pem' };
  const args = ['--import', 'tsx', 'workers/up.ts', '--json', '--port', String(port)];
  return spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function startUp(): Promise<Up> {
  const child = spawnUp();
  const lines: string[] = [];
  if (!child.stdout || !child.stderr) throw new Error('no pipes');
  createInterface({ input: child.stderr }).on('line', (line) => lines.push(line));
  const ready = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    once(child, 'exit').then(() => Promise.reject(new Error(`up ended: ${lines.join('\n')}`))),
  ]);
  return { child, lines, ready: JSON.parse(String(ready[0])) as Up['ready'] };
}

function processOf(part: string): ProcessIdentity {
  return JSON.parse(readFileSync(join(home, 'run', `${part}.json`), 'utf8')) as ProcessIdentity;
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const limit = Date.now() + untilMsMax; !(await holds()); await sleep(50)) {
    if (Date.now() > limit) throw new Error(`not in time: ${what}`);
  }
}

async function stop(up: Up, signal: NodeJS.Signals): Promise<void> {
  const ended = once(up.child, 'exit');
  up.child.kill(signal);
  await ended;
}

async function query(sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: (await environmentOf(home))['DATABASE_URL'] });
  await client.connect();
  try {
    return (await client.query(sql)).rows as unknown[];
  } finally {
    await client.end();
  }
}

/** What `GET /installation` says of a part; undefined while the API does not answer. */
async function shown(part: string): Promise<InstallationPart | undefined> {
  const file = JSON.parse(readFileSync(String(up.ready['tokenFile']), 'utf8')) as Record<string, string>;
  const dispatcher = new Agent({ connect: { ca: file['authorityPem'] } });
  try {
    const headers = { authorization: `Bearer ${file['token']}` };
    const answer = await fetch(`${file['url']}/api/v1/installation`, { dispatcher, headers });
    return installation.parse(await answer.json()).parts.find(({ name }) => name === part);
  } catch {
    return undefined;
  } finally {
    await dispatcher.close();
  }
}

let up: Up;

beforeAll(async () => {
  chmodSync(home, 0o755);
  port = await freePort();
  up = await startUp();
}, untilMsMax);

afterAll(async () => {
  if (up.child.exitCode === null) await stop(up, 'SIGTERM');
  rmSync(home, { recursive: true, force: true });
});

test('everything answers, and the first token is kept in a file that only its owner may read', () => {
  expect(up.ready).toMatchObject({ ready: true, api: `https://127.0.0.1:${port}` });
  expect(JSON.stringify(up.ready)).not.toContain('firstToken');
  expect(statSync(String(up.ready['tokenFile'])).mode & 0o077).toBe(0);
  expect(parts.map((part) => isAlive(processOf(part)))).toEqual([true, true, true, true]);
});

test('what a worker elsewhere needs stands in a file that only its owner may read', async () => {
  expect(statSync(join(home, 'run', 'worker.env')).mode & 0o777).toBe(0o600);
  expect(await environmentOf(home)).toMatchObject({
    DATABASE_URL: expect.stringMatching(/^postgresql:/) as string,
    TEMPORAL_ADDRESS: expect.stringMatching(/:\d+$/) as string,
    LANDFALL_HOME: home,
    LANDFALL_BUILD: expect.stringMatching(/^\//) as string,
    LANDFALL_API_URL: `https://127.0.0.1:${port}`,
    LANDFALL_API_CERTIFICATE_FILE: resolve('certificate.pem'),
  });
});

test('a worker elsewhere without the keys of the installation refuses to start, and makes none', async () => {
  const elsewhere = mkdtempSync(join(tmpdir(), 'landfall-elsewhere-'));
  const env = { ...process.env, ...(await environmentOf(home)), LANDFALL_HOME: elsewhere };
  const worker = spawn(process.execPath, ['--import', 'tsx', 'workers/worker.ts'], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  worker.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const [status] = (await once(worker, 'close')) as [number];
  expect(status).toBe(1);
  expect(said).toMatch(/authority\.json is not there .*\nRemedy: Share the folder "authority"/);
  expect(readdirSync(elsewhere)).toEqual([]);
  rmSync(elsewhere, { recursive: true });
});

test('no log holds the token or the password of the database', () => {
  const { token } = JSON.parse(readFileSync(String(up.ready['tokenFile']), 'utf8')) as { token: string };
  const password = readFileSync(join(home, 'run', 'postgres-password'), 'utf8');
  for (const name of readdirSync(join(home, 'logs'))) {
    const text = readFileSync(join(home, 'logs', name), 'utf8');
    expect([name, text.includes(token), text.includes(password)]).toEqual([name, false, false]);
  }
});

test.each(parts)('a killed part comes back, and that is said: %s', async (part) => {
  const before = processOf(part);
  process.kill(before.pid, 'SIGKILL');
  await until(`${part} runs again`, () => up.lines.includes(`landfall: ${part} runs again`));
  expect(up.lines.some((line) => line.startsWith(`landfall: ${part} stopped (killed by SIGKILL)`))).toBe(true);
  expect(processOf(part).pid).not.toBe(before.pid);
  expect(isAlive(processOf(part))).toBe(true);
  await until('the API says so', async () => (await shown(part))?.state === 'running');
  expect(await shown(part)).toMatchObject({ restarts: 1, lastEnd: { how: 'killed by SIGKILL' }, remedy: null });
  const told = `select data from event where type = 'installation.part' and data->>'part' = '${part}'`;
  await until('the live stream heard of it', async () => (await query(told)).length > 0);
  expect(await query(told)).toMatchObject([{ data: { state: 'running', restarts: 1, ended: 'killed by SIGKILL' } }]);
});

test('a part that dies again and again is said to be failing, with its log and a remedy, and comes back', async () => {
  const isFailing = async (): Promise<boolean> => {
    const { pid } = processOf('worker');
    if (isAlive(processOf('worker'))) process.kill(pid, 'SIGKILL');
    return (await shown('worker'))?.state === 'failing';
  };
  await until('the API says that it is failing', isFailing);
  expect(up.lines.some((line) => /^landfall: worker stopped \(.*\), \d+ times in a row; starting/.test(line))).toBe(
    true,
  );
  const remedy = up.lines.find((line) => line.startsWith('landfall: Remedy for worker: '));
  expect(remedy).toContain(join(home, 'logs', 'worker.log'));
  await until('it runs again', async () => (await shown('worker'))?.state === 'running');
});

test('a second one in the same home is refused with a remedy', async () => {
  const second = spawnUp();
  let said = '';
  second.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const [status] = (await once(second, 'close')) as [number];
  expect(status).toBe(1);
  expect(said).toMatch(/already runs .*\nRemedy: Stop it with Ctrl-C/);
});

test('after kill -9 of the supervisor a new one finds the same data', async () => {
  await query('create table kept (word text)');
  await query(`insert into kept values ('still here')`);
  const left = parts.map(processOf);
  await stop(up, 'SIGKILL');
  up = await startUp();
  expect(left.map(isAlive)).toEqual([false, false, false, false]);
  expect(await query('select word from kept')).toEqual([{ word: 'still here' }]);
});

test('a clean stop ends every part and leaves no lock', async () => {
  const left = parts.map(processOf);
  await stop(up, 'SIGINT');
  expect(up.child.exitCode).toBe(0);
  expect(left.map(isAlive)).toEqual([false, false, false, false]);
  expect(readdirSync(join(home, 'run')).sort()).toEqual(['ports.json', 'postgres-password', 'worker.env']);
});
