// The watch of a job against a made-up source: what is told counts, and what is not told is asked for.
import { describe, expect, it } from 'vitest';
import type { CallOptions, JobStatus } from '../../dataplane/client/index.ts';
import { watchJob } from './job-watch.ts';

const status = (epoch: number) => ({ epoch }) as JobStatus;

/** A source whose streams a test drives; what is asked for has the epoch 100 and up. */
function makeSource() {
  const streams: { give: (status: JobStatus) => void; end: () => void; fail: (error: Error) => void }[] = [];
  let asked = 0;
  const source = {
    streams,
    signal: undefined as AbortSignal | undefined,
    getJob: async () => status(100 + asked++),
    followJob: (_job: string, give: (status: JobStatus) => void, options?: CallOptions) =>
      new Promise<void>((end, fail) => {
        source.signal = options?.signal;
        streams.push({ give, end, fail });
      }),
  };
  return source;
}

const soon = 20;
const never = 60_000;

describe('watchJob', () => {
  it('gives what the stream tells, the newest only, and asks for nothing', async () => {
    const source = makeSource();
    const watch = watchJob(source, 'j', never);
    const first = watch.next();
    source.streams[0]?.give(status(1));
    expect(await first).toEqual(status(1));
    for (const epoch of [2, 3, 3]) source.streams[0]?.give(status(epoch));
    expect(await watch.next()).toEqual(status(3));
    const later = watch.next();
    source.streams[0]?.give(status(3));
    expect(await later).toEqual(status(3));
    expect(source.streams).toHaveLength(1);
    watch.close();
    expect(source.signal?.aborted).toBe(true);
  });

  it('asks while a stream is silent, broken or refused, and follows again', async () => {
    const source = makeSource();
    const watch = watchJob(source, 'j', soon);
    expect(await watch.next()).toEqual(status(100));
    expect(source.streams).toHaveLength(1);
    source.streams[0]?.fail(new Error('broken'));
    await Promise.resolve();
    expect(await watch.next()).toEqual(status(101));
    expect(source.streams).toHaveLength(2);
    source.streams[1]?.give(status(5));
    expect(await watch.next()).toEqual(status(5));
    source.streams[1]?.end();
    await Promise.resolve();
    // A line of the ended stream that comes late is a status like any other.
    source.streams[1]?.give(status(4));
    expect(await watch.next()).toEqual(status(4));
    expect(source.streams).toHaveLength(3);
  });

  it('ends a wait when it is told to, and fails as asking fails', async () => {
    const source = makeSource();
    const watch = watchJob({ ...source, getJob: () => Promise.reject(new Error('unreachable')) }, 'j', soon);
    await expect(watch.next()).rejects.toThrow('unreachable');
    const stop = new AbortController();
    const waiting = watchJob(source, 'j', never).next(stop.signal);
    stop.abort(new Error('cancelled'));
    await expect(waiting).rejects.toThrow('cancelled');
  });
});
