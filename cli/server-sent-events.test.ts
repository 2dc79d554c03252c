import { expect, test } from 'vitest';
import { readEvents, type ServerSentEvent } from './server-sent-events.ts';

async function* chunks(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield new TextEncoder().encode(text);
}

async function read(...texts: string[]): Promise<ServerSentEvent[]> {
  const events: ServerSentEvent[] = [];
  for await (const event of readEvents(chunks(...texts))) events.push(event);
  return events;
}

test('events are read across chunks, comments and heartbeats are not events', async () => {
  const events = await read(
    'retry: 2000\n: hello\n\nid: 7\nevent: a.b\nda',
    'ta: {"x":1}\n\n: still here\n\n',
    'id: 8\r\ndata: two\r\ndata: lines\r\n\r\n',
  );
  expect(events).toEqual([
    { id: '7', type: 'a.b', data: '{"x":1}' },
    { id: '8', type: 'message', data: 'two\nlines' },
  ]);
});

test('characters of several bytes survive a cut between them', async () => {
  const bytes = new TextEncoder().encode('data: ä€😀\n\n');
  async function* single(): AsyncGenerator<Uint8Array> {
    for (const byte of bytes) yield Uint8Array.of(byte);
  }
  const events: ServerSentEvent[] = [];
  for await (const event of readEvents(single())) events.push(event);
  expect(events[0]?.data).toBe('ä€😀');
});

test('an event that is cut off is not given', async () => {
  expect(await read('id: 1\ndata: half')).toEqual([]);
});
