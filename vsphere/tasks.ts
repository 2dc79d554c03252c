/**
 * Starts tasks and follows them to their end. It must not cancel them: a task belongs to vCenter, and a caller
 * that goes away finds its effect when it comes again.
 */
import { VsphereFault } from './faults.ts';
import type { AnyValue, MoRef } from './schema.ts';
import type { VsphereSession } from './session.ts';
import type { LocalizedMethodFault, Methods } from './types.gen.ts';

/** Calls that start a task. */
export type TaskMethod = {
  [M in keyof Methods]: Methods[M]['result'] extends MoRef<'Task'> ? M : never;
}[keyof Methods];

export interface TaskOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
  /** Called with each new percentage that vCenter reports. */
  readonly onProgress?: ((percent: number) => void) | undefined;
}

/** Long enough for a slow datastore; callers with a real limit give their own. */
const taskTimeoutMs = 30 * 60_000;
const taskPaths = ['info.state', 'info.progress', 'info.error', 'info.result'] as const;

/**
 * Starts a task and waits for it. Repeating starts another task: callers check the effect first.
 * Fails with the fault that ended the task; an abort or timeout leaves the task running.
 */
export async function runTask<M extends TaskMethod>(
  session: VsphereSession,
  on: MoRef<Methods[M]['on']>,
  method: M,
  args: Methods[M]['args'],
  options: TaskOptions = {},
): Promise<AnyValue> {
  const task = await session.call(on, method, args, { signal: options.signal });
  return followTask(session, task, method, options);
}

/** Waits for a task that runs already. May be called by many and again; gives the task's result. */
export async function followTask(
  session: VsphereSession,
  task: MoRef<'Task'>,
  what: string,
  options: TaskOptions = {},
): Promise<AnyValue> {
  let lastPercent: number | undefined;
  const ended = await session.watcher.watch(
    task,
    taskPaths,
    (values) => {
      const percent = values['info.progress'];
      if (percent !== undefined && percent !== lastPercent) options.onProgress?.((lastPercent = percent));
      if (values['info.state'] === 'success') return { result: values['info.result'] };
      if (values['info.state'] === 'error') throw taskFault(what, values['info.error']);
      return undefined;
    },
    { what: `the end of ${what}`, timeoutMs: options.timeoutMs ?? taskTimeoutMs, signal: options.signal },
  );
  return ended.result;
}

function taskFault(what: string, error: LocalizedMethodFault | undefined): VsphereFault {
  return new VsphereFault(what, { ...error?.fault }, error?.localizedMessage ?? 'the task failed');
}
