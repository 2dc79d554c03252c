// The live stream: what happens arrives, and after a break nothing is missed and nothing comes twice.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readEvents, type ServerSentEvent } from '../../cli/server-sent-events.ts';
import { recordEvent } from '../../db/index.ts';
import { startTestApi, type TestApi } from '../helpers/api.ts';

let api: TestApi;

beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api?.close());

const tell = (name: string, vmMigrationId?: string): Promise<void> =>
  api.database.transaction((db) =>
    recordEvent(db, 'migration.changed', { vmMigrationId: vmMigrationId ?? null, data: { name } }),
  );

/** Opens the stream, waits until it is open, does `then`, and takes so many events. */
async function take(
  count: number,
  path: string,
  headers: Record<string, string>,
  then: () => Promise<void>,
): Promise<ServerSentEvent[]> {
  const ending = new AbortController();
  const answer = await api.open(path, headers, ending.signal);
  expect(answer.headers.get('content-type')).toContain('text/event-stream');
  const taken: ServerSentEvent[] = [];
  const reading = (async () => {
    if (answer.body === null) throw new Error('no body');
    for await (const event of readEvents(answer.body)) {
      taken.push(event);
      if (taken.length === count) return;
    }
  })();
  await then();
  await reading;
  ending.abort();
  return taken;
}

const namesOf = (events: readonly ServerSentEvent[]): unknown[] =>
  events.map((event) => (JSON.parse(event.data) as { data: { name: unknown } }).data.name);

test('what happens arrives as it is committed', async () => {
  const events = await take(2, '/api/v1/events', {}, async () => {
    await tell('one');
    await tell('two');
  });
  expect(namesOf(events)).toEqual(['one', 'two']);
  expect(events[0]?.type).toBe('migration.changed');
});

test('what is rolled back is never heard of', async () => {
  const events = await take(1, '/api/v1/events', {}, async () => {
    const failed = api.database.transaction(async (db) => {
      await recordEvent(db, 'migration.changed', { data: { name: 'undone' } });
      throw new Error('undo');
    });
    await expect(failed).rejects.toThrow('undo');
    await tell('kept');
  });
  expect(namesOf(events)).toEqual(['kept']);
});

test('after a break the stream goes on behind Last-Event-ID, once each', async () => {
  const [before] = await take(1, '/api/v1/events', {}, () => tell('before'));
  for (let number = 0; number < 20; number += 1) await tell(`missed-${number}`);
  const events = await take(25, '/api/v1/events', { 'last-event-id': before?.id ?? '' }, async () => {
    for (let number = 0; number < 5; number += 1) await tell(`live-${number}`);
  });
  const expected = [
    ...Array.from({ length: 20 }, (_, n) => `missed-${n}`),
    ...Array.from({ length: 5 }, (_, n) => `live-${n}`),
  ];
  expect(namesOf(events)).toEqual(expected);
});

test('a stream of one migration hears of no other', async () => {
  const events = await take(1, '/api/v1/events?id=vmm_mine', {}, async () => {
    await tell('other', 'vmm_other');
    await tell('mine', 'vmm_mine');
  });
  expect(namesOf(events)).toEqual(['mine']);
});

test('a last id that is no id is refused', async () => {
  const answer = await api.call('GET', '/api/v1/events', { headers: { 'last-event-id': 'abc' } });
  expect([answer.status, answer.body.errors?.[0]?.pointer]).toEqual([400, '#/header/Last-Event-ID']);
});
