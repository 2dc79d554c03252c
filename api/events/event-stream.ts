// One client's live stream (SSE): what it missed since its Last-Event-ID, then what happens, and a heartbeat between.
// A client that reads too slowly is cut off; it comes back with its last id and misses nothing.
import type { Response } from 'express';
import type { Event } from '../../contracts/rest.ts';
import type { EventHub } from './event-hub.ts';

const heartbeatMs = 15_000;
const resumePage = 500;
/** About 2,000 events: a client so far behind does better by reading the records. */
const bufferedBytesMax = 1024 * 1024;

export interface StreamRequest {
  /** Resume after this id; null = only what happens from now on. */
  readonly afterId: bigint | null;
  readonly matches: (event: Event) => boolean;
}

/** Runs until the client or the server ends it. */
export async function streamEvents(hub: EventHub, wanted: StreamRequest, response: Response): Promise<void> {
  response.writeHead(200, {
    'Content-Type': 'text/event-stream; charset=utf-8',
    'Cache-Control': 'no-store, no-transform',
    'X-Accel-Buffering': 'no',
  });
  let lastId = wanted.afterId ?? (await hub.lastId());
  response.write(`retry: 2000\n: stream begins after ${lastId}\n\n`);

  // Subscribed before the past is read, so that nothing falls between; ids only grow, so what comes again is known.
  const early: Event[] = [];
  let live = false;
  const send = (event: Event): void => {
    const id = BigInt(event.id);
    if (id <= lastId) return;
    lastId = id;
    if (!wanted.matches(event)) return;
    if (response.writableLength > bufferedBytesMax) response.destroy();
    else response.write(`id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  };
  const unsubscribe = hub.subscribe((event) => {
    if (live) send(event);
    else early.push(event);
  });
  const heartbeat = setInterval(() => response.write(': still here\n\n'), heartbeatMs);
  const ended = new Promise<void>((resolve) => response.once('close', resolve));
  try {
    let page: readonly Event[];
    do {
      page = await hub.listAfter(lastId, resumePage);
      page.forEach(send);
    } while (page.length === resumePage && !response.destroyed);
    live = true;
    early.forEach(send);
    await ended;
  } finally {
    clearInterval(heartbeat);
    unsubscribe();
    response.end();
  }
}
