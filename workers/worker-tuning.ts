/** How much a worker keeps, and for how long others wait for one that has died. Options of Temporal's library; nothing of ours. */
import type { WorkerOptions } from '@temporalio/worker';

export const workerTuning = {
  /**
   * Workflows kept in memory, some 0.7 MiB each: a thousand VMs with their groups. One that falls out is replayed from its
   * history when something happens to it.
   */
  maxCachedWorkflows: 1200,
  /** What waits for the worker that knows a workflow goes to any other after so long: a killed one is noticed no sooner. */
  stickyQueueScheduleToStartTimeout: '5 seconds',
} satisfies Partial<WorkerOptions>;
