/**
 * One `landfall up` per home. The lock names the running supervisor and its parts, so that a second one is refused and
 * what a killed one left behind is found and ended. It must not end a process it cannot prove to be one of ours.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MigrationError } from '../../core/index.ts';
import { endProcess, identify, isAlive, type ProcessIdentity } from './process-identity.ts';

interface LockRecord {
  readonly supervisor: ProcessIdentity;
  readonly parts: Record<string, { readonly process: ProcessIdentity; readonly stopSignal: NodeJS.Signals }>;
}

export interface HomeLock {
  /** Remembers the process that now is this part, so that a later start can end it. */
  readonly note: (part: string, pid: number, stopSignal: NodeJS.Signals) => void;
  readonly release: () => void;
}

const stalePartWaitMsMax = 10_000;

function read(path: string): LockRecord | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as LockRecord;
  } catch {
    return undefined;
  }
}

function write(path: string, record: LockRecord): void {
  writeFileSync(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Takes the home, or throws HOME_IN_USE. `say` hears about each left-over process that was ended. */
export async function lockHome(home: string, say: (line: string) => void): Promise<HomeLock> {
  const folder = join(home, 'run');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'up.json');
  const before = read(path);
  if (before && isAlive(before.supervisor)) {
    const { pid } = before.supervisor;
    throw new MigrationError('HOME_IN_USE', `Landfall already runs in ${home} (process ${pid})`, {
      remedy: `Stop it with Ctrl-C or "kill ${pid}", or choose another folder with LANDFALL_HOME.`,
      details: { home, pid },
    });
  }
  const supervisor = identify(process.pid);
  if (!supervisor) throw new MigrationError('SERVICE_START_FAILED', 'This system has no /proc: Linux is needed');
  const parts: LockRecord['parts'] = { ...before?.parts };
  write(path, { supervisor, parts });
  for (const [part, left] of Object.entries(before?.parts ?? {}).reverse()) {
    if (isAlive(left.process)) {
      say(`ending ${part} (process ${left.process.pid}), left over from an earlier run`);
      await endProcess(left.process, left.stopSignal, stalePartWaitMsMax);
    }
    delete parts[part];
  }
  write(path, { supervisor, parts });
  return {
    note: (part, pid, stopSignal) => {
      const process = identify(pid);
      if (process) parts[part] = { process, stopSignal };
      write(path, { supervisor, parts });
    },
    release: () => rmSync(path, { force: true }),
  };
}
