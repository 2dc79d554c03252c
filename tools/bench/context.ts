/** What every suite is given: its options, a folder of its own for each run, and a voice. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { endLiving, undoLater } from './processes.ts';
import { releaseLoopDevices } from './storage.ts';

export interface Bench {
  readonly rounds: number;
  /** Small sizes: shows that a suite works, says nothing about speed. */
  readonly quick: boolean;
  /** Images that are kept from run to run. */
  readonly cache: string;
  readonly replicator: string;
  readonly lab: string;
  /** VMs of the fleet, where it is not the suite's own number. */
  readonly vms: number | undefined;
  /** Address of a workflow engine of the user's own, for the fleet. */
  readonly temporal: string | undefined;
  /** Progress, for people. */
  say(text: string): void;
  /** A new folder below the scratch folder, removed by `drop` or at the end. */
  folder(name: string): Scratch;
  /** Ends what a failed suite has left running, and removes the scratch folder. */
  close(): Promise<void>;
}

export interface Scratch {
  readonly path: string;
  file(name: string): string;
  drop(): void;
}

export interface BenchOptions {
  readonly rounds: number;
  readonly quick: boolean;
  readonly folder: string;
  readonly replicator: string;
  readonly lab: string;
  readonly vms?: number | undefined;
  readonly temporal?: string | undefined;
}

const runPrefix = 'run-';

/** Makes the folders, and removes what a killed bench left in them. */
export function openBench(options: BenchOptions): Bench {
  const base = resolve(options.folder);
  const cache = join(base, 'images');
  mkdirSync(cache, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(base)) {
    if (name.startsWith(runPrefix) && !isBench(name.slice(runPrefix.length))) {
      releaseLoopDevices(join(base, name));
      rmSync(join(base, name), { recursive: true, force: true });
    }
  }
  const scratch = join(base, `${runPrefix}${process.pid}`);
  mkdirSync(scratch, { mode: 0o700 });
  const removeScratch = undoLater(() => {
    rmSync(scratch, { recursive: true, force: true });
  });
  return {
    rounds: options.rounds,
    quick: options.quick,
    cache,
    replicator: existing(options.replicator),
    lab: existing(options.lab),
    vms: options.vms,
    temporal: options.temporal,
    say: (text) => process.stderr.write(`${text}\n`),
    folder(name) {
      const path = mkdtempSync(join(scratch, `${name}-`));
      return {
        path,
        file: (file) => join(path, file),
        drop: () => {
          rmSync(path, { recursive: true, force: true });
        },
      };
    },
    async close() {
      await endLiving();
      removeScratch();
    },
  };
}

/** Whether a bench with this process id runs: the id alone may meanwhile be somebody else's. */
function isBench(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('bench.ts');
  } catch {
    return false;
  }
}

function existing(program: string): string {
  if (!existsSync(program)) throw new Error(`${program} is missing: run "npm run setup"`);
  return resolve(program);
}
