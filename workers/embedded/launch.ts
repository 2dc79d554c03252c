/**
 * Starts one process with its output in a log file. Own session, so that Ctrl-C reaches only the supervisor, which then
 * stops the parts in their order. It must not restart anything.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createWriteStream, closeSync, openSync, renameSync, statSync, type WriteStream } from 'node:fs';
import { createInterface } from 'node:readline';

/** What a part says in its one ready line on standard output. */
export type ReadyLine = Readonly<Record<string, unknown>>;

export interface Run {
  readonly child: ChildProcess;
  /** How it ended, in words. */
  readonly ended: Promise<string>;
  /** Never settles for a part that is probed, or that ends before it is ready. */
  readonly readyLine: Promise<ReadyLine>;
}

interface LaunchSpec {
  readonly command: readonly [program: string, ...args: string[]];
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
  readonly probe?: unknown;
}

const logBytesMax = 32 * 1024 * 1024;

/** A log that has grown large becomes `.1` before the next start. */
function openLog(path: string): number {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size > logBytesMax) renameSync(path, `${path}.1`);
  return openSync(path, 'a', 0o600);
}

function readyLineIn(line: string): ReadyLine | undefined {
  if (!line.startsWith('{"ready":true')) return undefined;
  try {
    return JSON.parse(line) as ReadyLine;
  } catch {
    return undefined;
  }
}

/** Standard output goes to the log but for the ready line, which may hold a token. */
function watchOutput(child: ChildProcess, logFile: string): Promise<ReadyLine> {
  return new Promise((resolve) => {
    if (child.stdout === null) return;
    let log: WriteStream | undefined;
    const write = (text: string): void => {
      if (log === undefined) {
        log = createWriteStream(logFile, { flags: 'a', mode: 0o600 });
        // A full disk costs these lines, not the supervisor; the next line opens the log anew.
        log.once('error', () => (log = undefined));
      }
      log.write(text);
    };
    const lines = createInterface({ input: child.stdout });
    lines.on('line', (line) => {
      const ready = readyLineIn(line);
      if (ready) resolve(ready);
      else write(`${line}\n`);
    });
    lines.once('close', () => log?.end());
  });
}

export function launch(spec: LaunchSpec): Run {
  const [program, ...args] = spec.command;
  const log = openLog(spec.logFile);
  const stdout = spec.probe ? log : 'pipe';
  const child = spawn(program, args, { env: spec.env, detached: true, stdio: ['ignore', stdout, log] });
  closeSync(log);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ? `killed by ${signal}` : `exit status ${code}`));
  });
  return { child, ended, readyLine: watchOutput(child, spec.logFile) };
}

const hasSetpriv = spawnSync('setpriv', ['--version']).status === 0;

/** Words before a command so that it gets this signal when its parent dies, even by kill -9. None where the system cannot. */
export function endsWithParent(signal: NodeJS.Signals, ...options: string[]): string[] {
  return hasSetpriv ? ['setpriv', '--pdeathsig', signal.slice('SIG'.length), ...options, '--'] : [];
}
