/** Suite `start`: how long an installation takes to be ready, first and later times, and set-up with nothing to do. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from '../../workers/embedded/ports.ts';
import { atMost, type Figure } from './figure.ts';

const rounds = 3;
const startsLater = 2;

/** Seconds from the command to its ready line; the installation is stopped again before this returns. */
async function secondsToReady(home: string): Promise<number> {
  const begunMs = performance.now();
  const args = ['dist/workers/up.js', '--json', '--port', String(await freePort())];
  const env = { ...process.env, LANDFALL_HOME: home, DATABASE_URL: '', TEMPORAL_ADDRESS: '' };
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const first = await Promise.race([
    once(createInterface({ input: child.stdout }), 'line'),
    ended.then(() => undefined),
  ]);
  if (first === undefined) throw new Error('the installation ended before it was ready');
  const seconds = (performance.now() - begunMs) / 1000;
  child.kill('SIGTERM');
  await ended;
  return seconds;
}

function secondsOfSetup(): number {
  const begunMs = performance.now();
  const { status } = spawnSync('tools/setup', { stdio: 'inherit' });
  if (status !== 0) throw new Error('tools/setup failed');
  return (performance.now() - begunMs) / 1000;
}

export async function measureStart(): Promise<readonly Figure[]> {
  const first: number[] = [];
  const later: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const home = mkdtempSync(join(tmpdir(), 'landfall-bench-'));
    chmodSync(home, 0o755);
    first.push(await secondsToReady(home));
    for (let start = 0; start < startsLater; start += 1) later.push(await secondsToReady(home));
    rmSync(home, { recursive: true });
  }
  const setup = Array.from({ length: rounds }, secondsOfSetup);
  return [
    atMost('first start of an installation until ready', first, 30, 's'),
    atMost('later start of an installation until ready', later, 15, 's'),
    atMost('set-up with nothing to do', setup, 2, 's'),
  ];
}
