// Child processes that say by one JSON line when they are ready, and addresses that are still free. For demo and tests.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';

/** Waits for the first line of JSON on the child's output; throws with `whenEnded` when the child ends before it. */
export async function firstJsonLine<Line>(
  child: ChildProcess,
  options: { readonly timeoutMs: number; readonly whenEnded: string },
): Promise<Line> {
  if (child.stdout === null) throw new Error('the child has no standard output to read');
  const lines = createInterface({ input: child.stdout });
  const timeout = setTimeout(() => child.kill('SIGTERM'), options.timeoutMs);
  try {
    for await (const line of lines) if (line.startsWith('{')) return JSON.parse(line) as Line;
  } finally {
    clearTimeout(timeout);
  }
  throw new Error(options.whenEnded);
}

/** Asks the child to end, and makes it after `patienceMs`. May be called twice. */
export async function stopChild(child: ChildProcess, patienceMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timeout = setTimeout(() => child.kill('SIGKILL'), patienceMs);
  await ended;
  clearTimeout(timeout);
}

/** Whether nobody listens there. */
export async function isFree(host: string, port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((done) => {
    server.once('error', () => {
      done(false);
    });
    server.listen(port, host, () => {
      server.close(() => {
        done(true);
      });
    });
  });
}
