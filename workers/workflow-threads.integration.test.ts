// The compiled worker's threads: the hook that records stacks is refused, what Node itself needs of promises is not; a workflow
// that spins ends its worker once, and then only its own call.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const home = mkdtempSync(join(tmpdir(), 'landfall-threads-'));
const note = join(home, 'run', 'workflow-spun');
afterAll(() => rmSync(home, { recursive: true }));

/**
 * Run in a thread that the library starts: says which hooks it got, whether a call is still followed through promises, and whether
 * one is ended at its limit that runs for $MS.
 */
const thread = `
import v8 from 'node:v8';
import vm from 'node:vm';
import { AsyncLocalStorage } from 'node:async_hooks';
import { parentPort } from 'node:worker_threads';
const granted = (hooks) => { try { v8.promiseHooks.createHook(hooks)(); return true; } catch { return false; } };
const none = () => undefined;
const limited = () => {
  const spin = new vm.Script('{ const end = Date.now() + $MS; while (Date.now() < end); }');
  try {
    spin.runInContext(vm.createContext({ Date }), { timeout: 50 });
    return false;
  } catch (error) {
    return error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
  }
};
const storage = new AsyncLocalStorage();
storage.run('kept', async () => {
  await Promise.resolve();
  parentPort.postMessage({
    stacks: granted({ init: none, settled: none }),
    others: granted({ init: none, before: none, after: none, settled: none }),
    followed: storage.getStore(),
    limited: limited(),
  });
});`;

/** A process that has, or has not, loaded the file first and prints what its thread says. The library takes the class at each start. */
function program(first: string, callMs: number): string[] {
  const code = `${first}
    import workerThreads from 'node:worker_threads';
    const url = new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(thread.replace('$MS', String(callMs)))}));
    new workerThreads.Worker(url).once('message', (answer) => console.log(JSON.stringify(answer)));`;
  return ['--input-type=module', '-e', code];
}

const loaded = `import '${pathToFileURL(resolve('dist/workers/workflow-threads.js')).href}';`;
const environment = { ...process.env, LANDFALL_HOME: home };

function said(first: string, env: NodeJS.ProcessEnv = environment): unknown {
  return JSON.parse(execFileSync(process.execPath, program(first, 300), { encoding: 'utf8', env }));
}

const asItIs = { stacks: true, others: true, followed: 'kept', limited: true };

test('a worker records no stacks of promises, watches calls together, and nothing else of its threads is changed', () => {
  expect(said('')).toEqual(asItIs);
  expect(said(loaded)).toEqual({ ...asItIs, stacks: false, limited: false });
  // Without a home nothing could be said to the next life.
  expect(said(loaded, { ...process.env, LANDFALL_HOME: '' })).toEqual({ ...asItIs, stacks: false });
});

test('M10 a workflow that spins ends its worker once; for a day from then on its call alone is ended', () => {
  const first = spawnSync(process.execPath, program(loaded, 60_000), { encoding: 'utf8', env: environment });
  expect([first.status, first.stdout]).toEqual([1, '']);
  expect(first.stderr).toMatch(/a workflow ran for 5 s without a pause\nRemedy: /);
  expect(existsSync(note)).toBe(true);
  expect(said(loaded)).toEqual({ ...asItIs, stacks: false });
  const yesterday = new Date(Date.now() - 86_400_000);
  utimesSync(note, yesterday, yesterday);
  expect(said(loaded)).toEqual({ ...asItIs, stacks: false, limited: false });
}, 60_000);
