/**
 * One supervised part of an installation: started, watched until it is ready, started again with back-off when it dies,
 * stopped when asked. It must not know what the part does.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { InstallationPart } from '../../contracts/rest.ts';
import { MigrationError } from '../../core/index.ts';
import { healthyAfterMs, restartDelayMs } from './back-off.ts';
import { launch, type ReadyLine, type Run } from './launch.ts';
import { afterEvent, newPart, type PartEvent } from './part-state.ts';

export interface PartSpec {
  readonly name: string;
  readonly command: readonly [program: string, ...args: string[]];
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  readonly stopSignal: NodeJS.Signals;
  readonly stopMsMax: number;
  readonly readyMsMax: number;
  /** Asks whether the part answers; without it, the part prints one JSON line with `ready: true` when it does. */
  readonly probe?: () => Promise<boolean>;
}

/** The part runs on when `started` or `changed` throws, as they do on a full disk; that is said once. */
export interface PartHooks {
  readonly say: (line: string) => void;
  /** Called at every start, before the part is ready. */
  readonly started: (pid: number) => void;
  /** Called at every change of how the part is. */
  readonly changed?: (part: InstallationPart) => void;
}

export interface Part {
  /** Settles once: ready for the first time, or failed to start several times in a row. */
  readonly firstReady: Promise<ReadyLine>;
  /** May be called twice; resolves when the process is gone. */
  readonly stop: () => Promise<void>;
}

const startsBeforeGivingUp = 3;
const probeEveryMs = 50;

function startFailure(spec: PartSpec, how: string): MigrationError {
  let tail = '';
  try {
    tail = readFileSync(spec.logFile, 'utf8').trimEnd().split('\n').slice(-5).join('\n');
  } catch {
    // It died before it wrote anything.
  }
  return new MigrationError('SERVICE_START_FAILED', `${spec.name} could not be started (${how})\n${tail}`, {
    remedy: `Read ${spec.logFile}.`,
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function becomesReady(spec: PartSpec, run: Run, signal: AbortSignal): Promise<ReadyLine | undefined> {
  const { probe } = spec;
  if (!probe) return run.readyLine;
  while (!signal.aborted) {
    if (await probe().catch(() => false)) return { ready: true };
    await sleep(probeEveryMs);
  }
  return undefined;
}

/** One life of the part: resolves with how it ended. A part that is not ready in time is killed. */
async function live(spec: PartSpec, run: Run, onReady: (line: ReadyLine) => void): Promise<string> {
  const over = new AbortController();
  const late = sleep(spec.readyMsMax, 'late' as const, { signal: over.signal }).catch(() => undefined);
  const ready = becomesReady(spec, run, over.signal);
  const first = await Promise.race([ready, late, run.ended]);
  if (typeof first === 'object') onReady(first);
  if (first === 'late') run.child.kill('SIGKILL');
  const how = await run.ended;
  over.abort();
  return first === 'late' ? `not ready after ${spec.readyMsMax / 1000} s` : how;
}

/** Lets what is written about a part fail, as it does on a full disk, and says so once. */
function makeNoter(name: string, say: (line: string) => void): (write: () => void) => void {
  let complained = false;
  return (write) => {
    try {
      write();
    } catch (error) {
      if (!complained) say(`how ${name} is cannot be noted: ${messageOf(error)}`);
      complained = true;
    }
  };
}

/** Starts the part and keeps it running until `stop`. */
export function supervise(spec: PartSpec, hooks: PartHooks): Part {
  const stopping = new AbortController();
  let current: Run | undefined;
  let told = newPart(spec.name, spec.logFile, new Date());
  const note = makeNoter(spec.name, hooks.say);
  const happened = (event: PartEvent): void => {
    told = afterEvent(told, event, new Date());
    note(() => hooks.changed?.(told));
  };
  /** Resolves with how it ended; a start for which there is no room is an end like any other. */
  const begin = async (onReady: (line: ReadyLine) => void): Promise<string> => {
    let run: Run;
    try {
      run = launch(spec);
    } catch (error) {
      return messageOf(error);
    }
    current = run;
    const { pid } = run.child;
    if (pid !== undefined) note(() => hooks.started(pid));
    happened({ what: 'started' });
    return live(spec, run, onReady);
  };

  const keepRunning = async (resolve: (line: ReadyLine) => void, reject: (error: Error) => void): Promise<void> => {
    let everReady = false;
    for (let failures = 0; !stopping.signal.aborted;) {
      const startedAtMs = Date.now();
      const again = failures > 0;
      const how = await begin((line) => {
        if (again) hooks.say(`${spec.name} runs again`);
        everReady = true;
        happened({ what: 'ready' });
        resolve(line);
      });
      if (stopping.signal.aborted) return;
      failures = Date.now() - startedAtMs > healthyAfterMs ? 1 : failures + 1;
      happened({ what: 'ended', how, failures });
      if (!everReady && failures >= startsBeforeGivingUp) {
        reject(startFailure(spec, how));
        return;
      }
      const delayMs = restartDelayMs(failures);
      const often = told.remedy === null ? '' : `, ${failures} times in a row`;
      hooks.say(`${spec.name} stopped (${how})${often}; starting it again in ${delayMs / 1000} s`);
      if (told.remedy !== null) hooks.say(`Remedy for ${spec.name}: ${told.remedy}`);
      await sleep(delayMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  };
  let done: Promise<void> | undefined;
  const firstReady = new Promise<ReadyLine>((resolve, reject) => {
    done = keepRunning(resolve, reject);
  });

  return {
    firstReady,
    stop: async () => {
      stopping.abort();
      const run = current;
      run?.child.kill(spec.stopSignal);
      const kill = setTimeout(() => run?.child.kill('SIGKILL'), spec.stopMsMax);
      await done;
      clearTimeout(kill);
    },
  };
}
