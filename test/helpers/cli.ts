// The `landfall` command as a process against a test's API.
import { spawn, type ChildProcess } from 'node:child_process';
import type { TestApi } from './api.ts';

export interface Outcome {
  readonly status: number | null;
  readonly output: string;
  readonly errors: string;
}

export interface Cli {
  readonly begin: (args: readonly string[], env?: Readonly<Record<string, string>>) => ChildProcess;
  readonly run: (args: readonly string[], env?: Readonly<Record<string, string>>) => Promise<Outcome>;
}

export function makeCli(api: TestApi): Cli {
  const begin: Cli['begin'] = (args, env = {}) =>
    spawn(process.execPath, ['--import', 'tsx', 'cli/main.ts', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        LANDFALL_HOME: '/nonexistent',
        LANDFALL_URL: api.url,
        LANDFALL_TOKEN: api.token,
        LANDFALL_AUTHORITY_FILE: api.authorityFile,
        ...env,
      },
    });
  return { begin, run: (args, env) => finish(begin(args, env)) };
}

export function finish(child: ChildProcess): Promise<Outcome> {
  const chunks = { output: '', errors: '' };
  child.stdout?.on('data', (chunk: Buffer) => (chunks.output += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (chunks.errors += chunk.toString()));
  return new Promise((done, fail) => {
    child.once('error', fail);
    child.once('close', (status) => {
      done({ status, ...chunks });
    });
  });
}
