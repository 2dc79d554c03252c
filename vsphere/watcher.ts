/**
 * Waits for what properties of objects say, for any number of callers through one property collector per session.
 * It must not judge the values; callers give a check that says when they have seen enough.
 */
import { MigrationError } from '../core/index.ts';
import type { Caller } from './call.ts';
import { Collector, type Watch } from './collector.ts';
import type { ObjectType, PathValues } from './properties.ts';
import type { MoRef } from './schema.ts';

export interface WatchOptions {
  /** What is waited for, in words that fit behind "Waited in vain for". */
  readonly what: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Watcher {
  /**
   * Resolves with the first result of `check` that is not undefined; `check` sees the present values at once and
   * again after every change. Rejects with VSPHERE_TIMEOUT, with VSPHERE_NOT_FOUND when the object goes away, with
   * what `check` throws, or with the signal's reason. Leaves nothing behind; may be called again.
   */
  watch<T extends ObjectType, const P extends string, R>(
    ref: MoRef<T>,
    paths: readonly P[],
    check: (values: PathValues<T, P>) => R | undefined,
    options: WatchOptions,
  ): Promise<R>;
  /** Rejects everything that is being followed. Final. */
  stop(): Promise<void>;
}

export function createWatcher(caller: Caller): Watcher {
  const collector = new Collector(caller);
  const closed = new MigrationError('VSPHERE_UNREACHABLE', `The session with ${caller.address} was closed`);
  let stopped = false;
  return {
    async watch<T extends ObjectType, const P extends string, R>(
      ref: MoRef<T>,
      paths: readonly P[],
      check: (values: PathValues<T, P>) => R | undefined,
      options: WatchOptions,
    ): Promise<R> {
      if (stopped) throw closed;
      options.signal?.throwIfAborted();
      let end = (): void => undefined;
      const seen = new Promise<R>((resolve, reject) => {
        const look = (): void => {
          try {
            const result = check(watch.values as PathValues<T, P>);
            if (result !== undefined) resolve(result);
          } catch (error) {
            reject(error instanceof Error ? error : new Error('A check failed', { cause: error }));
          }
        };
        const watch: Watch = { ref, paths, values: {}, filter: undefined, armed: undefined, look, fail: reject };
        const timer = setTimeout(() => reject(timeoutError(options)), options.timeoutMs);
        const onAbort = (): void => reject(options.signal?.reason as Error);
        options.signal?.addEventListener('abort', onAbort, { once: true });
        end = () => {
          clearTimeout(timer);
          options.signal?.removeEventListener('abort', onAbort);
          collector.remove(watch);
        };
        collector.add(watch);
      });
      return seen.finally(end);
    },
    async stop() {
      stopped = true;
      await collector.stop(closed);
    },
  };
}

function timeoutError(options: WatchOptions): MigrationError {
  return new MigrationError('VSPHERE_TIMEOUT', `Waited in vain for ${options.what}`);
}
