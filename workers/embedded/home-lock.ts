/**
 * One `landfall up` per home. `run/up.json` names the running supervisor, `run/<part>.json` each part's process, so that a
 * second supervisor is refused and what a killed one left behind is found and ended. It must not end a process it
 * cannot prove to be one of ours.
 */
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MigrationError } from '../../core/index.ts';
import { endProcess, identify, isAlive, type ProcessIdentity } from './process-identity.ts';

interface PartRecord extends ProcessIdentity {
  readonly part: string;
  readonly stopSignal: NodeJS.Signals;
}

export interface HomeLock {
  /** Remembers the process that now is this part, so that a later start can end it. */
  readonly note: (part: string, pid: number, stopSignal: NodeJS.Signals) => void;
  readonly release: () => void;
}

const supervisorFile = 'up.json';
const leftOverWaitMsMax = 10_000;

function read<Value>(path: string): Value | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Value;
  } catch {
    return undefined;
  }
}

/** Readers see the old content or the new one, never half of it. */
function write(path: string, value: ProcessIdentity): void {
  writeFileSync(`${path}.new`, `${JSON.stringify(value)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

function partRecords(folder: string): PartRecord[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json') && name !== supervisorFile)
    .flatMap((name) => read<PartRecord>(join(folder, name)) ?? [])
    .filter((record) => typeof record.startTicks === 'string');
}

function takeHome(home: string, path: string): void {
  const before = read<ProcessIdentity>(path);
  if (before && isAlive(before)) {
    throw new MigrationError('HOME_IN_USE', `Landfall already runs in ${home} (process ${before.pid})`, {
      remedy: `Stop it with Ctrl-C or "kill ${before.pid}", or choose another folder with LANDFALL_HOME.`,
      details: { home, pid: before.pid },
    });
  }
  const supervisor = identify(process.pid);
  if (!supervisor) throw new MigrationError('SERVICE_START_FAILED', 'This system has no /proc: Linux is needed');
  write(path, supervisor);
}

/** Takes the home, or throws HOME_IN_USE. `say` hears about each left-over process that was ended. */
export async function lockHome(home: string, say: (line: string) => void): Promise<HomeLock> {
  const folder = join(home, 'run');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  takeHome(home, join(folder, supervisorFile));
  const fileOf = (part: string): string => join(folder, `${part}.json`);
  for (const record of partRecords(folder)) {
    if (isAlive(record)) {
      say(`ending ${record.part} (process ${record.pid}), left over from an earlier run`);
      await endProcess(record, record.stopSignal, leftOverWaitMsMax);
    }
    rmSync(fileOf(record.part));
  }
  const noted = new Set<string>();
  return {
    note: (part, pid, stopSignal) => {
      const identity = identify(pid);
      if (!identity) return;
      const record: PartRecord = { part, stopSignal, ...identity };
      write(fileOf(part), record);
      noted.add(part);
    },
    release: () => {
      for (const part of noted) rmSync(fileOf(part), { force: true });
      rmSync(join(folder, supervisorFile), { force: true });
    },
  };
}
