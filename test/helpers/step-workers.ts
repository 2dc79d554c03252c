// Keeps worker processes of step-worker.ts running, as `landfall up` would: one that dies is started again at once.

import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Installation } from '../../demo/harness/installation.ts';
import { firstJsonLine, stopChild } from '../../demo/harness/child.ts';
import { environmentOf } from './worker-environment.ts';
import type { OwnWorker } from './world.ts';

const program = fileURLToPath(new URL('./step-worker.ts', import.meta.url));
const readyMsMax = 60_000;
const stopMsMax = 20_000;

/** As many as `count` at once, all with the orders in `folder`. */
export class StepWorkers implements OwnWorker {
  private readonly folder: string;
  private readonly count: number;
  private readonly running = new Set<ChildProcess>();
  private stopping = false;
  /** How many died without being asked to. */
  deaths = 0;

  constructor(folder: string, count: number) {
    this.folder = folder;
    this.count = count;
  }

  async start(installation: Installation): Promise<void> {
    const env = { ...process.env, ...(await environmentOf(installation.home)) };
    const log = createWriteStream(join(installation.home, 'step-workers.log'));
    await Promise.all(Array.from({ length: this.count }, () => this.keep(env, log)));
  }

  private async keep(env: NodeJS.ProcessEnv, log: NodeJS.WritableStream): Promise<void> {
    const child = spawn(process.execPath, ['--import', 'tsx', program, this.folder], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env,
    });
    this.running.add(child);
    child.stderr.pipe(log, { end: false });
    child.once('exit', () => {
      this.running.delete(child);
      if (this.stopping) return;
      this.deaths += 1;
      this.keep(env, log).catch((error: unknown) => log.write(`${String(error)}\n`));
    });
    await firstJsonLine(child, { timeoutMs: readyMsMax, whenEnded: 'The worker ended before it was ready' });
  }

  async stop(): Promise<void> {
    this.stopping = true;
    await Promise.all([...this.running].map((child) => stopChild(child, stopMsMax)));
  }
}
