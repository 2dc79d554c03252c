/**
 * Imported first by the worker: leaves out two things that Temporal's library does in the threads that run workflows, because they
 * cost more than they give and it has no option for them. See docs/decisions/0004-no-promise-stacks.md and
 * 0005-unwatched-calls.md. It must change nothing else of a thread.
 */
import v8 from 'node:v8';
import vm from 'node:vm';
import workerThreads, { Worker, isMainThread, type WorkerOptions } from 'node:worker_threads';

/** Every thread loads this file before its own. */
class WorkflowThread extends Worker {
  constructor(file: string | URL, options: WorkerOptions = {}) {
    super(file, { ...options, execArgv: [...(options.execArgv ?? process.execArgv), '--import', import.meta.url] });
  }
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

/** Calls that the library makes into its sandbox for itself: no code of a workflow runs in them, so none can spin. */
const ownCalls: ReadonlySet<unknown> = new Set(['initRuntime', 'concludeActivation', 'dispose']);

/** Where the library puts what is to be called: `[holder, name, arguments]`. */
interface Sandbox extends vm.Context {
  readonly __temporal_args?: readonly unknown[];
}

/** Node watches a call with a time limit from a thread that it starts for that call alone. */
function leaveOwnCallsUnwatched(): void {
  const { prototype } = vm.Script;
  const { runInContext } = prototype;
  prototype.runInContext = function (this: vm.Script, sandbox: Sandbox, options) {
    const isOwn = ownCalls.has(sandbox.__temporal_args?.[1]);
    return runInContext.call(this, sandbox, isOwn ? { ...options, timeout: undefined } : options) as unknown;
  };
}

// Run from its sources a thread cannot load this file before its own: then the library does as it is.
const isCompiled = import.meta.url.endsWith('.js');
if (!isMainThread) {
  refuseStacks();
  leaveOwnCallsUnwatched();
} else if (isCompiled) workerThreads.Worker = WorkflowThread;
