/**
 * Follows properties of any number of objects through one property collector per session. It must not judge the
 * values; callers give a check that says when they have seen enough.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isRetryable, MigrationError } from '../core/index.ts';
import type { Caller } from './call.ts';
import { isFault, VsphereFault } from './faults.ts';
import { readObject, type ObjectType, type PathValues } from './properties.ts';
import type { MoRef } from './schema.ts';
import type { ObjectUpdate, UpdateSet } from './types.gen.ts';

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

interface Watch {
  readonly ref: MoRef<ObjectType>;
  readonly paths: readonly string[];
  values: Record<string, unknown>;
  filter: MoRef | undefined;
  look(): void;
  fail(error: unknown): void;
}

/** Also the longest time that a lost update stays unnoticed: after each quiet wait everything is read again. */
const waitSecondsMax = 20;
const answerGraceMs = 30_000;
const retryPauseMs = 1_000;

export function createWatcher(session: Caller): Watcher {
  const watches = new Set<Watch>();
  const stopped = new AbortController();
  let spentFilters: MoRef[] = [];
  let collector: Promise<MoRef<'PropertyCollector'>> | undefined;
  let version = '';
  let loop: Promise<void> | undefined;

  const openCollector = (): Promise<MoRef<'PropertyCollector'>> => {
    collector ??= session.call(session.manager('propertyCollector'), 'CreatePropertyCollector', {}) as Promise<
      MoRef<'PropertyCollector'>
    >;
    return collector;
  };

  /** After an aborted or failed wait a collector may swallow updates, so it is never used again. */
  const dropCollector = async (): Promise<void> => {
    const old = await collector?.catch(() => undefined);
    collector = undefined;
    version = '';
    spentFilters = [];
    for (const watch of watches) watch.filter = undefined;
    if (old) await session.call(old, 'DestroyPropertyCollector', {}).catch(() => undefined);
  };

  /** The filter comes before the reading, so that no change falls between them. */
  const arm = async (watch: Watch): Promise<void> => {
    if (!watch.filter) {
      const spec = {
        propSet: [{ type: watch.ref.type, pathSet: [...watch.paths] }],
        objectSet: [{ obj: watch.ref }],
      };
      watch.filter = await session.call(await openCollector(), 'CreateFilter', { spec, partialUpdates: false });
    }
    watch.values = (await readObject(session, watch.ref, watch.paths)).values;
    watch.look();
  };

  const armAll = async (): Promise<void> => {
    for (const watch of [...watches]) {
      try {
        await arm(watch);
      } catch (error) {
        if (isFault(error, 'ManagedObjectNotFound')) watch.fail(error);
        else throw error;
      }
    }
  };

  const waitOnce = async (): Promise<void> => {
    const current = await openCollector();
    const updates = await session.call(
      current,
      'WaitForUpdatesEx',
      { version, options: { maxWaitSeconds: waitSecondsMax } },
      { timeoutMs: waitSecondsMax * 1000 + answerGraceMs, signal: stopped.signal },
    );
    if (updates) {
      version = updates.version;
      apply(updates, watches);
    } else {
      await armAll();
    }
    const spent = spentFilters;
    spentFilters = [];
    for (const filter of spent) await session.call(filter, 'DestroyPropertyFilter', {});
  };

  const run = async (): Promise<void> => {
    while (watches.size > 0 && !stopped.signal.aborted) {
      try {
        if ([...watches].some((watch) => !watch.filter)) await armAll();
        await waitOnce();
      } catch (error) {
        if (!isRetryable(error) && !isFault(error, 'ManagedObjectNotFound')) {
          for (const watch of watches) watch.fail(error);
        }
        await dropCollector();
        if (!stopped.signal.aborted) await sleep(retryPauseMs);
      }
    }
    loop = undefined;
  };

  return {
    async watch(ref, paths, check, options) {
      if (stopped.signal.aborted) throw closedError(session);
      options.signal?.throwIfAborted();
      const { promise, resolve, reject } = withResolvers<NonNullable<ReturnType<typeof check>>>();
      const watch: Watch = {
        ref,
        paths,
        values: {},
        filter: undefined,
        fail: reject,
        look: () => {
          try {
            const result = check(watch.values as Parameters<typeof check>[0]);
            if (result !== undefined) resolve(result as NonNullable<typeof result>);
          } catch (error) {
            reject(error);
          }
        },
      };
      const timer = setTimeout(() => reject(timeoutError(options)), options.timeoutMs);
      const onAbort = (): void => reject(options.signal?.reason);
      options.signal?.addEventListener('abort', onAbort, { once: true });
      watches.add(watch);
      arm(watch).catch((error: unknown) => {
        // The loop arms it again; only what cannot get better ends the watch here.
        if (!isRetryable(error)) reject(error);
      });
      loop ??= run();
      try {
        return await promise;
      } finally {
        clearTimeout(timer);
        options.signal?.removeEventListener('abort', onAbort);
        watches.delete(watch);
        if (watch.filter) spentFilters.push(watch.filter);
      }
    },

    async stop() {
      stopped.abort(closedError(session));
      for (const watch of watches) watch.fail(closedError(session));
      await loop;
      await dropCollector();
    },
  };
}

function apply(updates: UpdateSet, watches: ReadonlySet<Watch>): void {
  for (const { filter, objectSet } of updates.filterSet ?? []) {
    for (const watch of watches) {
      if (watch.filter?.value !== filter.value) continue;
      for (const update of objectSet ?? []) applyToObject(update, watch);
      watch.look();
    }
  }
}

function applyToObject(update: ObjectUpdate, watch: Watch): void {
  if (update.kind === 'leave') {
    const fault = { _type: 'ManagedObjectNotFound', obj: watch.ref };
    watch.fail(new VsphereFault('Watch', fault, `${watch.ref.value} no longer exists`));
    return;
  }
  for (const change of update.changeSet ?? []) {
    if (change.op === 'assign') watch.values[change.name] = change.val;
    else delete watch.values[change.name];
  }
}

function withResolvers<R>() {
  let resolve!: (value: R) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<R>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}

function timeoutError(options: WatchOptions): MigrationError {
  return new MigrationError('VSPHERE_TIMEOUT', `Waited in vain for ${options.what}`);
}

function closedError(session: Caller): MigrationError {
  return new MigrationError('VSPHERE_UNREACHABLE', `The session with ${session.address} was closed`);
}
