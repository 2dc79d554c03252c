/**
 * The newest status of a job, as its source tells it: from the stream, and by asking while there is none. Statuses are whole,
 * so one that is late, missed or told twice does no harm. It decides nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { limits } from '../../core/index.ts';
import type { ControlClient, JobStatus } from '../../dataplane/client/index.ts';

export interface JobWatch {
  /** A status that was not given yet; where none is told within `limits.supervisePollMs`, the source is asked. */
  next(signal?: AbortSignal): Promise<JobStatus>;
  close(): void;
}

export function watchJob(
  client: Pick<ControlClient, 'followJob' | 'getJob'>,
  jobId: string,
  pollMs: number = limits.supervisePollMs,
): JobWatch {
  const closed = new AbortController();
  let newest: JobStatus | undefined;
  let isFollowing = false;
  let wake = (): void => undefined;

  function follow(): void {
    if (isFollowing || closed.signal.aborted) return;
    isFollowing = true;
    const give = (status: JobStatus): void => {
      newest = status;
      wake();
    };
    const ended = (): void => void (isFollowing = false);
    // A break is no failure: the job is asked instead, and that says what is wrong.
    client.followJob(jobId, give, { signal: closed.signal }).then(ended, ended);
  }

  async function waitForNews(signal: AbortSignal | undefined): Promise<void> {
    const news = new AbortController();
    wake = () => news.abort();
    const either = signal === undefined ? news.signal : AbortSignal.any([signal, news.signal]);
    if (newest === undefined) await sleep(pollMs, undefined, { signal: either }).catch(() => undefined);
    wake = () => undefined;
    signal?.throwIfAborted();
  }

  return {
    async next(signal) {
      follow();
      await waitForNews(signal);
      const told = newest;
      newest = undefined;
      return told ?? client.getJob(jobId, { signal });
    },
    close: () => closed.abort(),
  };
}
