// The compiled worker's threads: the hook that records stacks is refused, what Node itself needs of promises is not; calls into
// the sandbox that run a workflow's code keep their time limit.
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';

/**
 * Run in a thread that the library starts: says which hooks it got, whether a call is still followed through promises, and which
 * calls are ended at their limit.
 */
const thread = `
import v8 from 'node:v8';
import vm from 'node:vm';
import { AsyncLocalStorage } from 'node:async_hooks';
import { parentPort } from 'node:worker_threads';
const granted = (hooks) => { try { v8.promiseHooks.createHook(hooks)(); return true; } catch { return false; } };
const none = () => undefined;
const spin = new vm.Script('{ const end = Date.now() + 300; while (Date.now() < end); }');
const limited = (name) => {
  const sandbox = vm.createContext({ Date, __temporal_args: [{}, name, []] });
  try { spin.runInContext(sandbox, { timeout: 50 }); return false; } catch (error) { return error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'; }
};
const storage = new AsyncLocalStorage();
storage.run('kept', async () => {
  await Promise.resolve();
  parentPort.postMessage({
    stacks: granted({ init: none, settled: none }),
    others: granted({ init: none, before: none, after: none, settled: none }),
    followed: storage.getStore(),
    limited: ['activate', 'tryUnblockConditions', 'concludeActivation'].map(limited),
  });
});`;

/** What a thread says in a process that has, or has not, loaded the file first. The library takes the class at each start. */
function said(first: string): unknown {
  const code = `${first}
    import workerThreads from 'node:worker_threads';
    const url = new URL('data:text/javascript,' + encodeURIComponent(${JSON.stringify(thread)}));
    new workerThreads.Worker(url).once('message', (answer) => console.log(JSON.stringify(answer)));`;
  const node = ['--input-type=module', '-e', code];
  return JSON.parse(execFileSync(process.execPath, node, { encoding: 'utf8' }));
}

test('a worker records no stacks of promises, watches a workflow’s own code, and nothing else of its threads is changed', () => {
  const file = pathToFileURL(resolve('dist/workers/workflow-threads.js')).href;
  const asItIs = { stacks: true, others: true, followed: 'kept', limited: [true, true, true] };
  expect(said('')).toEqual(asItIs);
  expect(said(`import '${file}';`)).toEqual({ ...asItIs, stacks: false, limited: [true, true, false] });
});
