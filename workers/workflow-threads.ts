/**
 * Imported first by the worker: leaves out two things that Temporal's library does in the threads that run workflows, because they
 * cost more than they give and it has no option for them. See docs/decisions/0004-no-promise-stacks.md and
 * 0005-calls-watched-together.md. It must change nothing else of a thread.
 */
import v8 from 'node:v8';
import vm from 'node:vm';
import workerThreads, { Worker, getEnvironmentData, isMainThread, type WorkerOptions } from 'node:worker_threads';
import { isWatchedCallByCall, watchThread, type Calls } from './spin-watch.ts';

const callsKey = 'landfall.calls';

/** Every thread loads this file before its own. */
class WorkflowThread extends Worker {
  constructor(file: string | URL, options: WorkerOptions = {}) {
    const stopWatching = isWatchedCallByCall() ? undefined : watchThread((calls) => share(calls));
    super(file, { ...options, execArgv: [...(options.execArgv ?? process.execArgv), '--import', import.meta.url] });
    share(undefined);
    if (stopWatching !== undefined) this.once('exit', stopWatching);
  }
}

/** What the next thread that starts will find. */
function share(calls: Calls | undefined): void {
  workerThreads.setEnvironmentData(callsKey, calls);
}

/**
 * A stack for every promise of every workflow, kept for the query `__stack_trace`. The library goes on without where promises cannot
 * be hooked. Node's own hooks, for what follows a call through promises, look at more than their beginning and end.
 */
function refuseStacks(): void {
  const { promiseHooks } = v8;
  const createHook = promiseHooks.createHook.bind(promiseHooks);
  promiseHooks.createHook = (hooks) => {
    if (hooks.settled !== undefined && hooks.before === undefined)
      throw new Error('Stacks of promises are not recorded');
    return createHook(hooks);
  };
}

/** Node watches a call with a time limit from a thread that it starts for that call alone; here one counter tells of all calls. */
function countCalls(calls: Calls): void {
  const { prototype } = vm.Script;
  const { runInContext } = prototype;
  prototype.runInContext = function (this: vm.Script, sandbox, options) {
    if (typeof options !== 'object' || options.timeout === undefined)
      return runInContext.call(this, sandbox, options) as unknown;
    Atomics.add(calls, 0, 1);
    try {
      return runInContext.call(this, sandbox, { ...options, timeout: undefined }) as unknown;
    } finally {
      Atomics.add(calls, 0, 1);
    }
  };
}

// Run from its sources a thread cannot load this file before its own: then the library does as it is.
const isCompiled = import.meta.url.endsWith('.js');
if (!isMainThread) {
  refuseStacks();
  const calls = getEnvironmentData(callsKey) as Calls | undefined;
  if (calls !== undefined) countCalls(calls);
} else if (isCompiled) workerThreads.Worker = WorkflowThread;
