import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  admit,
  claim,
  impossible,
  pausedSites,
  prioritize,
  release,
  lineOf,
  type Admission,
  type Waiting,
} from './admission.ts';
import type { Claim } from './admission-turn.ts';
import { capacityOf, sumOf } from './tokens.ts';

const empty = (capacities: Record<string, number>): Admission => ({ capacities, leases: [], waiting: [] });
const wants = (id: string, arrived: number, more: Partial<Claim> = {}): Claim => ({
  id,
  needs: { total: 1 },
  priority: 3,
  owner: id,
  arrived,
  ...more,
});
const waitingFor = (state: Admission, id: string): Waiting | undefined => lineOf(state).find((item) => item.id === id);
const idsOf = (claims: readonly Claim[]): string[] => claims.map(({ id }) => id);
const holding = (state: Admission, ...claims: Claim[]): Admission => admit(claims.reduce(claim, state)).state;

describe('admission', () => {
  it('grants in the order of priority, then share, then arrival', () => {
    const state = [
      wants('late', 3),
      wants('early', 1),
      wants('first', 4, { priority: 1 }),
      wants('rich', 0, { owner: 'o' }),
    ].reduce(claim, holding(empty({ total: 9 }), wants('old', 0, { owner: 'o' })));
    expect(idsOf(admit(state).granted)).toEqual(['first', 'early', 'late', 'rich']);
  });

  it('counts a kind for each of its names, and leaves alone what has no limit', () => {
    const state = [
      wants('a', 1, { needs: { 'host:x': 1 } }),
      wants('b', 2, { needs: { 'host:x': 1 } }),
      wants('c', 3, { needs: { 'host:y': 1, 'datastore:z': 50 } }),
    ].reduce(claim, empty({ host: 1 }));
    expect(idsOf(admit(state).granted)).toEqual(['a', 'c']);
    expect(capacityOf({ host: 1, 'host:x': 4 }, 'host:x')).toBe(4);
  });

  it('lets nobody overtake a large claim on what it lacks, only elsewhere', () => {
    const state = [
      wants('group', 1, { needs: { link: 3, 'host:x': 1 } }),
      wants('small', 2, { needs: { link: 1 } }),
      wants('elsewhere', 3, { needs: { 'host:x': 1 } }),
    ].reduce(claim, holding(empty({ link: 3, host: 2 }), wants('old', 0, { needs: { link: 1 } })));
    const { granted, state: after } = admit(state);
    expect(idsOf(granted)).toEqual(['elsewhere']);
    expect(idsOf(admit(release(after, 'old')).granted)).toEqual(['group']);
  });

  it('M6 a paused site has nothing to give out, and holds up nobody else', () => {
    const of = (id: string, site: string, arrived: number) =>
      wants(id, arrived, { needs: { [`site:${site}`]: 1, total: 1 } });
    const claims = [of('a', 'old', 1), of('b', 'old', 2), of('c', 'other', 3)];
    const { granted, state } = admit(claims.reduce(claim, empty({ total: 2, ...pausedSites(['old']) })));
    expect(idsOf(granted)).toEqual(['c']);
    expect(waitingFor(state, 'b')).toMatchObject({ resource: 'site:old', capacity: 0, place: 2 });
    expect(idsOf(admit({ ...state, capacities: { total: 2 } }).granted)).toEqual(['a']);
  });

  it('M5 a priority is changed while a claim waits, by its owner or by claiming again', () => {
    const full = holding(empty({ total: 1 }), wants('x', 0));
    const line = [wants('a', 1), wants('b', 2), wants('c', 3)].reduce(claim, full);
    const changed = prioritize(line, { c: 1, x: 5 });
    expect(['a', 'b', 'c'].map((id) => waitingFor(changed, id)?.place)).toEqual([2, 3, 1]);
    const again = claim(changed, wants('b', 9, { priority: 1 }));
    expect(['a', 'b', 'c'].map((id) => waitingFor(again, id)?.place)).toEqual([3, 1, 2]);
    expect(idsOf(admit(release(again, 'x')).granted)).toEqual(['b']);
  });

  it('B6 says what a claim waits for, and its place', () => {
    const full = holding(empty({ total: 9, 'host:x': 1 }), wants('a', 1, { needs: { 'host:x': 1, total: 1 } }));
    const state = [
      wants('b', 2, { needs: { 'host:x': 1 } }),
      wants('c', 3, { needs: { total: 1, 'host:x': 1 } }),
    ].reduce(claim, full);
    expect(waitingFor(state, 'c')).toEqual({ id: 'c', resource: 'host:x', needed: 1, taken: 1, capacity: 1, place: 2 });
    expect(waitingFor(state, 'a')).toBeUndefined();
  });

  it('B6 begins what was granted at a pace, a small wave at once, and says when there is more', () => {
    const capacities = { total: 1000, starts: 2 };
    const claims = Array.from({ length: 30 }, (_, index) => wants(`c${index}`, index));
    const first = admit(claims.reduce(claim, empty(capacities)), 1_000);
    expect(first.granted).toHaveLength(20);
    expect(first.moreAtMs).toBe(2_000);
    expect(waitingFor(first.state, 'c22')).toMatchObject({ resource: 'starts', capacity: 2, place: 3 });
    expect(admit(first.state, 1_400).granted).toEqual([]);
    const second = admit(first.state, 2_000);
    expect(idsOf(second.granted)).toEqual(['c20', 'c21']);
    const last = admit(second.state, 60_000);
    expect(last.granted).toHaveLength(8);
    expect(last.moreAtMs).toBeNull();
  });

  it('B6 lets a group larger than the pace begin whole, and what comes after it waits for as long', () => {
    const group = wants('group', 1, { needs: { total: 50 } });
    const state = [group, wants('next', 2)].reduce(claim, empty({ total: 100, starts: 2 }));
    const begun = admit(state, 0);
    expect(idsOf(begun.granted)).toEqual(['group']);
    expect(begun.moreAtMs).toBe(16_000);
    expect(idsOf(admit(begun.state, 15_500).granted)).toEqual(['next']);
  });

  it('says what ten thousand wait for in one pass', () => {
    const claims = Array.from({ length: 10_000 }, (_, arrived) =>
      wants(`c${arrived}`, arrived, { owner: `o${arrived % 100}` }),
    );
    const line = lineOf({ ...empty({ total: 0 }), waiting: claims });
    expect(line).toHaveLength(10_000);
    expect(line.at(-1)?.place).toBe(10_000);
  });

  it('takes a claim once, gives back parts, and never more than was held', () => {
    let state = holding(empty({ total: 3 }), wants('g', 1, { needs: { total: 3 } }));
    state = claim(state, wants('g', 9));
    expect(state.waiting).toEqual([]);
    state = release(state, 'g', { total: 1, link: 5 });
    expect(state.leases[0]?.needs).toEqual({ total: 2 });
    state = release(release(state, 'g', { total: 7 }), 'g', { total: 1 });
    expect(state.leases).toEqual([]);
  });

  it('names what can never be granted', () => {
    expect(impossible({ total: 10, host: 2 }, sumOf([{ total: 4, 'host:x': 2 }, { 'host:x': 1 }]))).toEqual(['host:x']);
  });

  const resources = ['total', 'host:a', 'host:b', 'link:l'];
  const someNeeds = fc.dictionary(fc.constantFrom(...resources), fc.integer({ min: 1, max: 3 }), { minKeys: 1 });
  const action = fc.oneof(
    fc.record({
      do: fc.constant('claim' as const),
      needs: someNeeds,
      priority: fc.integer({ min: 1, max: 5 }),
      owner: fc.constantFrom('p', 'q', 'r'),
    }),
    fc.record({ do: fc.constant('release' as const), index: fc.nat(20) }),
  );

  it('never grants more than there is, and leaves nobody waiting for ever', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
        let state = empty({ total: 6, host: 3, link: 4 });
        const granted = new Set<string>();
        const step = (next: Admission): void => {
          const result = admit(next);
          state = result.state;
          result.granted.forEach(({ id }) => granted.add(id));
          const used = sumOf(state.leases.map(({ needs }) => needs));
          for (const [resource, count] of Object.entries(used)) {
            expect(count).toBeLessThanOrEqual(capacityOf(state.capacities, resource));
          }
          expect(admit(state).granted).toEqual([]);
        };
        let claims = 0;
        for (const [index, act] of actions.entries()) {
          if (act.do === 'claim') {
            claims += 1;
            step(claim(state, { ...act, id: `c${index}`, arrived: index }));
          } else {
            const lease = state.leases[act.index % Math.max(1, state.leases.length)];
            if (lease !== undefined) step(release(state, lease.id));
          }
        }
        while (state.leases.length > 0) step(release(state, state.leases[0]?.id ?? ''));
        expect(granted.size).toBe(claims);
      }),
    );
  });
});
