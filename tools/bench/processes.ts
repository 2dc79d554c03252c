/**
 * Processes of a bench: started, measured and ended here, so that none is left behind whichever way the bench ends. What must
 * happen at the end (files to remove, devices to give back) is registered here too.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { createInterface } from 'node:readline';
import { childrenOf, cpuSecondsOf, residentPeakBytesOf } from './procfs.ts';

/** A process asked to end may flush a few GiB first; then it is killed. */
const patienceMs = 20_000;
const readyMs = 30_000;
const memorySampleMs = 20;

const living = new Set<ChildProcess>();
const atEnd = new Set<() => void>();

/** Ends what is left; called once, when the bench ends by itself or by a signal. */
function endAll(): void {
  for (const child of living) child.kill('SIGKILL');
  for (const undo of atEnd) undo();
  atEnd.clear();
}

/** Ends what a failed suite has left running, and waits. */
export async function endLiving(): Promise<void> {
  const ends = [...living].map((child) => once(child, 'close'));
  for (const child of living) child.kill('SIGKILL');
  await Promise.all(ends);
}

/** Makes sure that nothing is left behind. For the program itself, before it starts anything. */
export function cleanUpAtEnd(): void {
  process.once('exit', endAll);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
  }
}

/** Registers what must be undone at the end; the function that it returns does it now, once. */
export function undoLater(undo: () => void): () => void {
  atEnd.add(undo);
  return () => {
    if (atEnd.delete(undo)) undo();
  };
}

export interface Running {
  readonly pid: number;
  /** User and system seconds so far, ended children included. */
  cpuSeconds(): number;
  /** Most memory that was ever resident. */
  residentPeakBytes(): number;
  /** The first line of JSON on its output. Throws with the end of its log when it ends before. */
  ready<Line>(): Promise<Line>;
  /** Whether it still runs. */
  runs(): boolean;
  /** Waits until it ends by itself. */
  ended(): Promise<void>;
  /** Asks it to end and waits; may be called twice. */
  stop(signal?: 'SIGTERM' | 'SIGINT'): Promise<void>;
  /** Kill -9; returns when it is gone. */
  kill(): Promise<void>;
  /** The end of what it wrote on its error output. */
  log(): string;
}

/** Starts a process whose error output goes to `logFile`. */
export function start(program: string, args: readonly string[], logFile: string): Running {
  // The kernel kills it when this process is killed without a chance to clean up.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stderr.pipe(createWriteStream(logFile, { flags: 'a' }));
  let saidReady: (line: string) => void;
  const firstJson = new Promise<string>((resolve) => (saidReady = resolve));
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line.startsWith('{')) saidReady(line);
  });
  const ended = track(child);
  const { pid } = child;
  if (pid === undefined) throw new Error(`${program} cannot be started`);
  const runs = (): boolean => child.exitCode === null && child.signalCode === null;
  const log = (): string => readFileSync(logFile, 'utf8').slice(-2000);
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (!runs()) return;
    child.kill(signal);
    const hurry = setTimeout(() => child.kill('SIGKILL'), patienceMs);
    await ended;
    clearTimeout(hurry);
  };
  return {
    pid,
    runs,
    log,
    cpuSeconds: () => cpuSecondsOf(pid),
    residentPeakBytes() {
      const bytes = residentPeakBytesOf(pid);
      if (bytes === undefined) throw new Error(`${program} has ended: ${log()}`);
      return bytes;
    },
    async ready<Line>() {
      const hurry = setTimeout(() => child.kill('SIGKILL'), readyMs);
      const line = await Promise.race([firstJson, ended]);
      clearTimeout(hurry);
      if (typeof line === 'string') return JSON.parse(line) as Line;
      throw new Error(`${program} ${args[0] ?? ''} ended before it was ready: ${log()}`);
    },
    ended: () => ended,
    stop: (signal = 'SIGTERM') => end(signal),
    kill: () => end('SIGKILL'),
  };
}

export interface Ended {
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Largest that was seen while it ran. */
  readonly residentPeakBytes: number;
  readonly stdout: string;
}

/** Runs a program to its end and measures it. Throws with its error output when it fails. */
export async function runTimed(program: string, args: readonly string[]): Promise<Ended> {
  // Bash reads the child's rusage after its end, which Node does not offer.
  const script = 'TIMEFORMAT="bench-time %3R %3U %3S"; time setpriv --pdeathsig KILL "$@"';
  const timing = ['--pdeathsig', 'KILL', 'bash', '-c', script, 'bash', program, ...args];
  const child = spawn('setpriv', timing, { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = track(child);
  const [stdout, stderr] = [collected(child.stdout), collected(child.stderr)];
  let residentPeakBytes = 0;
  const sampling = setInterval(() => {
    for (const pid of childrenOf(child.pid ?? 0)) {
      residentPeakBytes = Math.max(residentPeakBytes, residentPeakBytesOf(pid) ?? 0);
    }
  }, memorySampleMs);
  await ended;
  clearInterval(sampling);
  const times = /bench-time (\d+\.\d+) (\d+\.\d+) (\d+\.\d+)\s*$/.exec(stderr());
  if (child.exitCode !== 0 || times === null) {
    throw new Error(`${program} ${args.join(' ')} failed: ${stderr().slice(-2000)}`);
  }
  const [, seconds, user, system] = times.map(Number);
  return {
    seconds: seconds ?? 0,
    cpuSeconds: (user ?? 0) + (system ?? 0),
    residentPeakBytes,
    stdout: stdout(),
  };
}

/** Resolves when all output of the child was read and it is gone. */
async function track(child: ChildProcess): Promise<void> {
  living.add(child);
  await once(child, 'close').catch((error: unknown) => {
    throw new Error(`${child.spawnfile} cannot be started`, { cause: error });
  });
  living.delete(child);
}

function collected(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks).toString();
}
