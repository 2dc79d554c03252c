/**
 * Imported first by the worker: keeps Temporal's library from recording a stack for every promise of every workflow, which it
 * does for the query `__stack_trace` (the "call stack" of Temporal's UI) and cannot be told to leave. It takes a third of what a
 * workflow costs; the library goes on without where promises cannot be hooked, and so the query answers that there is none.
 * See docs/decisions/0004-no-promise-stacks.md. It must change nothing else of a thread.
 */
import v8 from 'node:v8';
import workerThreads, { Worker, isMainThread, type WorkerOptions } from 'node:worker_threads';

/** Every thread loads this file before its own. */
class ThreadWithoutStacks extends Worker {
  constructor(file: string | URL, options: WorkerOptions = {}) {
    super(file, { ...options, execArgv: [...(options.execArgv ?? process.execArgv), '--import', import.meta.url] });
  }
}

/** Node's own hooks, for what follows a call through promises, look at more than their beginning and end. */
function refuseStacks(): void {
  const { promiseHooks } = v8;
  const createHook = promiseHooks.createHook.bind(promiseHooks);
  promiseHooks.createHook = (hooks) => {
    if (hooks.settled !== undefined && hooks.before === undefined)
      throw new Error('Stacks of promises are not recorded');
    return createHook(hooks);
  };
}

// Run from its sources a thread cannot load this file before its own: then stacks are recorded.
const isCompiled = import.meta.url.endsWith('.js');
if (!isMainThread) refuseStacks();
else if (isCompiled) workerThreads.Worker = ThreadWithoutStacks;
