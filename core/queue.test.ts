import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hasCode } from './errors.ts';
import { changeQueue, startable, without, type Queue, type QueueChange } from './queue.ts';

const queue = (waiting: readonly string[], more: Partial<Queue> = {}): Queue => ({
  waiting,
  held: [],
  paused: false,
  concurrency: 1,
  ...more,
});

describe('queue', () => {
  it('M5 begins members in order, so many at once', () => {
    expect(startable(queue(['a', 'b', 'c']), 0)).toEqual(['a']);
    expect(startable(queue(['a', 'b', 'c'], { concurrency: 3 }), 1)).toEqual(['a', 'b']);
    expect(startable(queue(['a'], { concurrency: 2 }), 5)).toEqual([]);
  });

  it('M5 passes over members that are held, and begins none while paused', () => {
    const held = changeQueue(queue(['a', 'b']), { kind: 'hold', id: 'a' });
    expect(startable(held, 0)).toEqual(['b']);
    expect(startable(changeQueue(held, { kind: 'let-go', id: 'a' }), 0)).toEqual(['a']);
    const paused = changeQueue(held, { kind: 'pause' });
    expect(startable(paused, 0)).toEqual([]);
    expect(startable(changeQueue(paused, { kind: 'resume' }), 0)).toEqual(['b']);
  });

  it('M5 adds nobody that has begun already, however often it is told', () => {
    const now = changeQueue(queue(['b']), { kind: 'add', ids: ['a', 'b', 'c'] }, (id) => id === 'a');
    expect(now.waiting).toEqual(['b', 'c']);
  });

  it('M5 moves a member before another, or to the end', () => {
    const moved = changeQueue(queue(['a', 'b', 'c']), { kind: 'move', id: 'c', before: 'a' });
    expect(moved.waiting).toEqual(['c', 'a', 'b']);
    expect(changeQueue(moved, { kind: 'move', id: 'c', before: null }).waiting).toEqual(['a', 'b', 'c']);
    expect(changeQueue(moved, { kind: 'move', id: 'a', before: 'a' }).waiting).toEqual(['c', 'a', 'b']);
  });

  it.each([
    { kind: 'move', id: 'x', before: null },
    { kind: 'move', id: 'a', before: 'x' },
    { kind: 'hold', id: 'x' },
    { kind: 'let-go', id: 'x' },
    { kind: 'remove', id: 'x' },
  ] as const)('refuses %j for a member that does not wait', (change) => {
    expect(() => changeQueue(queue(['a']), change)).toThrow(
      expect.objectContaining({ code: 'MEMBER_NOT_WAITING' }) as Error,
    );
  });

  it.each([0, -1, 1.5, 10_000])('refuses %d members at once', (concurrency) => {
    expect(() => changeQueue(queue([]), { kind: 'concurrency', concurrency })).toThrow(/at once/);
  });

  const names = ['a', 'b', 'c', 'd', 'e'];
  const name = fc.constantFrom(...names);
  const change: fc.Arbitrary<QueueChange> = fc.oneof(
    fc.record({ kind: fc.constant('move' as const), id: name, before: fc.option(name) }),
    fc.record({ kind: fc.constantFrom('hold' as const, 'let-go' as const, 'remove' as const), id: name }),
    fc.record({ kind: fc.constant('add' as const), ids: fc.array(name, { maxLength: 3 }) }),
    fc.record({ kind: fc.constantFrom('pause' as const, 'resume' as const) }),
    fc.record({ kind: fc.constant('concurrency' as const), concurrency: fc.integer({ min: 1, max: 4 }) }),
  );

  it('holds each member once whatever is changed, and a change twice is a change once', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
        let now = queue(names.slice(0, 3));
        for (const one of changes) {
          try {
            const next = changeQueue(now, one);
            if (one.kind !== 'remove') expect(changeQueue(next, one)).toEqual(next);
            now = next;
          } catch (error) {
            if (!hasCode(error, 'MEMBER_NOT_WAITING')) throw error;
          }
          expect(new Set(now.waiting).size).toBe(now.waiting.length);
          expect(now.held.every((id) => now.waiting.includes(id))).toBe(true);
          const [first] = startable(now, 0);
          if (first !== undefined) expect(without(now, first).waiting).not.toContain(first);
        }
      }),
    );
  });
});
