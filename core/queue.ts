/**
 * The waiting part of an independent migration: in which order members begin, which of them are held back,
 * how many run at once. Members that have begun are no longer in it. Refusals are MigrationErrors.
 */
import { MigrationError } from './errors.ts';
import { limits } from './limits.ts';

/** Plain data, so that it survives in a workflow's carried state. */
export interface Queue {
  /** Ids of members that have not begun, first one first. */
  readonly waiting: readonly string[];
  /** Of these, the ones that are passed over until they are resumed. */
  readonly held: readonly string[];
  readonly paused: boolean;
  /** How many members run at once. */
  readonly concurrency: number;
}

/** What a person may change while the queue runs. */
export type QueueChange =
  | { readonly kind: 'move'; readonly id: string; /** Null is the end. */ readonly before: string | null }
  | { readonly kind: 'hold'; readonly id: string }
  | { readonly kind: 'let-go'; readonly id: string }
  | { readonly kind: 'add'; readonly ids: readonly string[] }
  | { readonly kind: 'remove'; readonly id: string }
  | { readonly kind: 'pause' }
  | { readonly kind: 'resume' }
  | { readonly kind: 'concurrency'; readonly concurrency: number };

/**
 * The queue after a change; the same change twice gives the same queue. Members that have `begun` are not added again, also
 * when they have ended since. Throws MEMBER_NOT_WAITING.
 */
export function changeQueue(queue: Queue, change: QueueChange, begun: (id: string) => boolean = () => false): Queue {
  switch (change.kind) {
    case 'move':
      return move(queue, change.id, change.before);
    case 'hold':
      requireWaiting(queue, change.id);
      return { ...queue, held: [...new Set([...queue.held, change.id])] };
    case 'let-go':
      requireWaiting(queue, change.id);
      return { ...queue, held: queue.held.filter((id) => id !== change.id) };
    case 'add':
      return { ...queue, waiting: [...new Set([...queue.waiting, ...change.ids.filter((id) => !begun(id))])] };
    case 'remove':
      requireWaiting(queue, change.id);
      return without(queue, change.id);
    case 'pause':
      return { ...queue, paused: true };
    case 'resume':
      return { ...queue, paused: false };
    case 'concurrency':
      return { ...queue, concurrency: checked(change.concurrency) };
  }
}

/** The members that begin now, in order, when `running` of them run already. */
export function startable(queue: Queue, running: number): readonly string[] {
  if (queue.paused) return [];
  const free = Math.max(0, queue.concurrency - running);
  return queue.waiting.filter((id) => !queue.held.includes(id)).slice(0, free);
}

/** The queue without a member that has begun, or is not wanted any more. */
export function without(queue: Queue, gone: string): Queue {
  const others = (ids: readonly string[]): readonly string[] => ids.filter((id) => id !== gone);
  return { ...queue, waiting: others(queue.waiting), held: others(queue.held) };
}

function move(queue: Queue, id: string, before: string | null): Queue {
  requireWaiting(queue, id);
  if (before === id) return queue;
  if (before !== null) requireWaiting(queue, before);
  const others = queue.waiting.filter((other) => other !== id);
  const at = before === null ? others.length : others.indexOf(before);
  return { ...queue, waiting: [...others.slice(0, at), id, ...others.slice(at)] };
}

function requireWaiting(queue: Queue, id: string): void {
  if (!queue.waiting.includes(id)) throw new MigrationError('MEMBER_NOT_WAITING', `${id} is not waiting in this queue`);
}

function checked(concurrency: number): number {
  if (Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= limits.concurrencyMax) return concurrency;
  throw new MigrationError('INVALID_INPUT', `A queue runs 1 to ${limits.concurrencyMax} members at once`);
}
