// What people are told of a part that dies: once, and again and again.
import { expect, test } from 'vitest';
import { afterEvent, newPart, type PartEvent } from './part-state.ts';

const at = (seconds: number): Date => new Date(Date.UTC(2027, 0, 1, 0, 0, seconds));

/** One event a second, from second 1 on. */
function after(...events: readonly PartEvent[]): ReturnType<typeof newPart> {
  return events.reduce(
    (part, event, index) => afterEvent(part, event, at(index + 1)),
    newPart('worker', '/logs/worker.log', at(0)),
  );
}
const ended = (failures: number): PartEvent => ({ what: 'ended', how: 'exit status 1', failures });
const started: PartEvent = { what: 'started' };
const ready: PartEvent = { what: 'ready' };

test('the first start is no restart; what died once runs again and says how it ended', () => {
  expect(after(started, ready)).toMatchObject({ state: 'running', restarts: 0, lastEnd: null });
  expect(after(started, ready, ended(1))).toMatchObject({ state: 'stopped', remedy: null });
  expect(after(started, ready, ended(1), started, ready)).toMatchObject({
    state: 'running',
    restarts: 1,
    since: at(5).toISOString(),
    lastEnd: { at: at(3).toISOString(), how: 'exit status 1' },
  });
});

test('what dies again and again is failing from the third end on, with its log and a remedy, until it answers', () => {
  const dying = [started, ended(1), started, ended(2), started, ended(3)];
  const failing = { state: 'failing', since: at(6).toISOString() };
  expect(after(...dying)).toMatchObject({ ...failing, restarts: 2 });
  expect(after(...dying).remedy).toContain('/logs/worker.log');
  expect(after(...dying, started, ended(4), started)).toMatchObject({ ...failing, restarts: 4 });
  expect(after(...dying, started, ready)).toMatchObject({ state: 'running', remedy: null, restarts: 3 });
});
