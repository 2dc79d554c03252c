/**
 * One property collector of a session and the loop that waits on it. It keeps the values of watched objects current
 * and makes a new collector when one is lost. It must not know what anybody waits for.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isRetryable } from '../core/index.ts';
import type { Caller } from './call.ts';
import { isFault, VsphereFault } from './faults.ts';
import { readObject, type ObjectType } from './properties.ts';
import type { MoRef } from './schema.ts';
import type { ObjectUpdate, UpdateSet } from './types.gen.ts';

/** An object whose properties are followed; its owner makes it, the collector fills it. */
export interface Watch {
  readonly ref: MoRef<ObjectType>;
  readonly paths: readonly string[];
  /** Present values by path. */
  values: Record<string, unknown>;
  /** Set while the collector reports changes of this object. */
  filter: MoRef | undefined;
  armed: Promise<void> | undefined;
  /** Called after every change of `values`. */
  look(): void;
  /** Called once with what ends the watch. */
  fail(error: unknown): void;
}

/** Also the longest time that a lost update stays unnoticed: after each quiet wait everything is read again. */
const waitSecondsMax = 20;
const answerGraceMs = 30_000;
const retryPauseMs = 1_000;
/** A collector that cannot be destroyed goes with the session. */
const farewellMs = 5_000;

/** Holds the state of one loop; `add` starts it, it ends by itself when nothing is watched any more. */
export class Collector {
  private readonly caller: Caller;
  private readonly watches = new Set<Watch>();
  private readonly stopped = new AbortController();
  private readonly stoppable = { signal: this.stopped.signal };
  private collector: Promise<MoRef> | undefined;
  private version = '';
  private spentFilters: MoRef[] = [];
  private loop: Promise<void> | undefined;

  constructor(caller: Caller) {
    this.caller = caller;
  }

  /** Follows an object from now on. A trouble that may pass is left to the loop, which tries again. */
  add(watch: Watch): void {
    this.watches.add(watch);
    this.arm(watch).catch((error: unknown) => {
      if (!mayPass(error)) watch.fail(error);
    });
    this.loop ??= this.run();
  }

  /** The filter is destroyed after the wait that is under way, so that nobody waits for it here. */
  remove(watch: Watch): void {
    this.watches.delete(watch);
    if (watch.filter) this.spentFilters.push(watch.filter);
  }

  /** Fails everything that is watched. The collector itself goes with the session. */
  async stop(reason: Error): Promise<void> {
    this.stopped.abort(reason);
    for (const watch of this.watches) watch.fail(reason);
    await this.loop;
  }

  private async run(): Promise<void> {
    while (this.watches.size > 0 && !this.stopped.signal.aborted) {
      try {
        await this.forAll((watch) => this.arm(watch));
        if (this.watches.size > 0) await this.waitOnce();
      } catch {
        if (this.stopped.signal.aborted) break;
        await this.drop();
        await sleep(retryPauseMs);
      }
    }
    this.loop = undefined;
  }

  private async waitOnce(): Promise<void> {
    const collector = (await this.open()) as MoRef<'PropertyCollector'>;
    const updates = await this.caller.call(
      collector,
      'WaitForUpdatesEx',
      { version: this.version, options: { maxWaitSeconds: waitSecondsMax } },
      { timeoutMs: waitSecondsMax * 1000 + answerGraceMs, ...this.stoppable },
    );
    if (updates) {
      this.version = updates.version;
      apply(updates, this.watches);
    } else {
      await this.forAll((watch) => this.read(watch));
    }
    const spent = this.spentFilters;
    this.spentFilters = [];
    for (const filter of spent) await this.caller.call(filter, 'DestroyPropertyFilter', {}, this.stoppable);
  }

  /** What cannot get better ends its watch; anything else goes to the loop. */
  private async forAll(act: (watch: Watch) => Promise<void>): Promise<void> {
    for (const watch of [...this.watches]) {
      try {
        await act(watch);
      } catch (error) {
        if (mayPass(error)) throw error;
        watch.fail(error);
      }
    }
  }

  /** The filter comes before the reading, so that no change falls between them. */
  private arm(watch: Watch): Promise<void> {
    watch.armed ??= this.createFilter(watch)
      .then(() => this.read(watch))
      .catch((error: unknown) => {
        watch.armed = undefined;
        throw error;
      });
    return watch.armed;
  }

  private async createFilter(watch: Watch): Promise<void> {
    const collector = (await this.open()) as MoRef<'PropertyCollector'>;
    const spec = {
      propSet: [{ type: watch.ref.type, pathSet: [...watch.paths] }],
      objectSet: [{ obj: watch.ref }],
    };
    const args = { spec, partialUpdates: false };
    watch.filter = await this.caller.call(collector, 'CreateFilter', args, this.stoppable);
  }

  private async read(watch: Watch): Promise<void> {
    watch.values = (await readObject(this.caller, watch.ref, watch.paths, this.stoppable)).values;
    watch.look();
  }

  private open(): Promise<MoRef> {
    const root = this.caller.manager('propertyCollector');
    this.collector ??= this.caller.call(root, 'CreatePropertyCollector', {}, this.stoppable);
    return this.collector;
  }

  /** After an aborted or failed wait a collector may swallow updates, so it is never used again. */
  private async drop(): Promise<void> {
    const old = await this.collector?.catch(() => undefined);
    this.collector = undefined;
    this.version = '';
    this.spentFilters = [];
    for (const watch of this.watches) watch.filter = watch.armed = undefined;
    const farewell = { timeoutMs: farewellMs, ...this.stoppable };
    if (old) await this.caller.call(old, 'DestroyPropertyCollector', {}, farewell).catch(() => undefined);
  }
}

function mayPass(error: unknown): boolean {
  return isRetryable(error) || isLostCollector(error);
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
