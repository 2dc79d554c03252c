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
  /** Set while the collector reports changes of this object. */
  filter: MoRef | undefined;
  armed: Promise<void> | undefined;
  look(): void;
  fail(error: unknown): void;
}

/** Also the longest time that a lost update stays unnoticed: after each quiet wait everything is read again. */
const waitSecondsMax = 20;
const answerGraceMs = 30_000;
const retryPauseMs = 1_000;
/** A collector that cannot be destroyed goes with the session. */
const farewellMs = 5_000;

export function createWatcher(session: Caller): Watcher {
  const watches = new Set<Watch>();
  const stopped = new AbortController();
  let spentFilters: MoRef[] = [];
  let collector: Promise<MoRef> | undefined;
  let version = '';
  let loop: Promise<void> | undefined;

  const openCollector = (): Promise<MoRef> => {
    collector ??= session.call(session.manager('propertyCollector'), 'CreatePropertyCollector', {});
    return collector;
  };

  /** After an aborted or failed wait a collector may swallow updates, so it is never used again. */
  const dropCollector = async (): Promise<void> => {
    const old = await collector?.catch(() => undefined);
    collector = undefined;
    version = '';
    spentFilters = [];
    for (const watch of watches) watch.filter = watch.armed = undefined;
    if (old) await session.call(old, 'DestroyPropertyCollector', {}, { timeoutMs: farewellMs }).catch(() => undefined);
  };

  const read = async (watch: Watch): Promise<void> => {
    watch.values = (await readObject(session, watch.ref, watch.paths)).values;
    watch.look();
  };

  const createFilter = async (watch: Watch): Promise<void> => {
    const current = (await openCollector()) as MoRef<'PropertyCollector'>;
    const spec = {
      propSet: [{ type: watch.ref.type, pathSet: [...watch.paths] }],
      objectSet: [{ obj: watch.ref }],
    };
    watch.filter = await session.call(current, 'CreateFilter', { spec, partialUpdates: false });
  };

  /** The filter comes before the reading, so that no change falls between them. */
  const arm = (watch: Watch): Promise<void> => {
    watch.armed ??= createFilter(watch)
      .then(() => read(watch))
      .catch((error: unknown) => {
        watch.armed = undefined;
        throw error;
      });
    return watch.armed;
  };

  /** What cannot get better ends the watch; anything else is for the loop to try again. */
  const failOrThrow = (watch: Watch, error: unknown): void => {
    if (isRetryable(error) || isLostCollector(error)) throw error;
    watch.fail(error);
  };

  const forAll = async (act: (watch: Watch) => Promise<void>): Promise<void> => {
    for (const watch of [...watches]) await act(watch).catch((error: unknown) => failOrThrow(watch, error));
  };

  const waitOnce = async (): Promise<void> => {
    const current = (await openCollector()) as MoRef<'PropertyCollector'>;
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
      await forAll(read);
    }
    const spent = spentFilters;
    spentFilters = [];
    for (const filter of spent) await session.call(filter, 'DestroyPropertyFilter', {});
  };

  const run = async (): Promise<void> => {
    while (watches.size > 0 && !stopped.signal.aborted) {
      try {
        await forAll(arm);
        if (watches.size > 0) await waitOnce();
      } catch {
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
        armed: undefined,
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
      // A trouble that may pass is left to the loop, which arms everything again.
      arm(watch).catch((error: unknown) => {
        if (!isRetryable(error) && !isLostCollector(error)) reject(error);
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

/** The collector went away with an expired session; the watched object is named in the fault when it is that. */
function isLostCollector(error: unknown): boolean {
  if (!isFault(error, 'ManagedObjectNotFound')) return false;
  const lost = error.fault['obj'] as MoRef | undefined;
  return lost === undefined || lost.type === 'PropertyCollector' || lost.type === 'PropertyFilter';
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
