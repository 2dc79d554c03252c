// What the demo does to a replication that is under way: limits its rate and measures the effect on the link itself,
// kills the worker, kills the replicator. Measures; says nothing.

import { readFile } from 'node:fs/promises';
import type { Installation } from './harness/installation.ts';
import type { Lab } from './harness/lab-process.ts';
import { pause } from './harness/wait.ts';

/** How often the link's counter is read while a limit is measured. */
const SAMPLE_INTERVAL_MS = 50;
/** A window long enough that single bursts do not count, short enough to see when the limit took hold. */
const WINDOW_MS = 1000;
/** How long the limited rate is watched. */
const WATCH_MS = 6000;

/** What a limit did. Rates are of all bytes that crossed the link towards the destination. */
export interface RateEffect {
  /** From the moment the request was sent to the end of the first window within 10 % of the limit, less the window. */
  readonly effectiveAfterMs: number;
  readonly bytesPerSecond: number;
}

/** Sets an absolute limit through the API and measures, on the link, when and how well it holds. */
export async function limitAndMeasure(
  installation: Installation,
  lab: Lab,
  vmMigrationId: string,
  bytesPerSecondMax: number,
): Promise<RateEffect> {
  const samples: { readonly atMs: number; readonly bytes: number }[] = [];
  let watching = true;
  const sampling = (async () => {
    while (watching) {
      const atMs = performance.now();
      samples.push({ atMs, bytes: await bytesTowardsDestination(lab) });
      await pause(SAMPLE_INTERVAL_MS);
    }
  })();
  const sentAtMs = performance.now();
  await installation.call('PATCH', `/vm-migrations/${vmMigrationId}/settings`, {
    bytesPerSecondMax: String(bytesPerSecondMax),
  });
  await pause(WATCH_MS);
  watching = false;
  await sampling;
  return judgeRate(samples, sentAtMs, bytesPerSecondMax);
}

function judgeRate(
  samples: readonly { readonly atMs: number; readonly bytes: number }[],
  sentAtMs: number,
  limit: number,
): RateEffect {
  let effectiveAfterMs = Number.POSITIVE_INFINITY;
  for (const start of samples) {
    if (start.atMs < sentAtMs) continue;
    const end = samples.find((sample) => sample.atMs >= start.atMs + WINDOW_MS);
    if (end === undefined) break;
    const rate = ((end.bytes - start.bytes) / (end.atMs - start.atMs)) * 1000;
    if (rate > limit * 1.1) continue;
    effectiveAfterMs = start.atMs - sentAtMs;
    break;
  }
  const steady = samples.filter((sample) => sample.atMs >= sentAtMs + WINDOW_MS);
  const [first, last] = [steady[0], steady[steady.length - 1]];
  if (first === undefined || last === undefined || last.atMs === first.atMs) {
    return { effectiveAfterMs, bytesPerSecond: 0 };
  }
  return { effectiveAfterMs, bytesPerSecond: ((last.bytes - first.bytes) / (last.atMs - first.atMs)) * 1000 };
}

/** Lifts the absolute limit again. */
export async function liftLimit(installation: Installation, vmMigrationId: string): Promise<void> {
  await installation.call('PATCH', `/vm-migrations/${vmMigrationId}/settings`, { bytesPerSecondMax: null });
}

async function bytesTowardsDestination(lab: Lab): Promise<number> {
  return (await lab.control.wanBytes()).toDestination;
}

/** Ends the worker process of an installation as a crash would. Returns the process id that was killed. */
export async function killWorker(installation: Installation): Promise<number> {
  const pid = await installation.partPid('worker');
  process.kill(pid, 'SIGKILL');
  return pid;
}

/** Peak resident memory of the replicator processes that run now, in bytes, by role; 0 where none runs. */
export async function memoryPeaks(lab: Lab): Promise<{ source: number; receiver: number }> {
  const peaks = { source: 0, receiver: 0 };
  for (const found of await lab.control.processes()) {
    const role = found.role === 'replicator-source' ? 'source' : found.role === 'receiver' ? 'receiver' : null;
    if (role !== null) peaks[role] = Math.max(peaks[role], await peakResidentBytes(found.pid));
  }
  return peaks;
}

/** VmHWM of /proc/PID/status: the most that a process ever held. 0 when it has ended meanwhile. */
async function peakResidentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${String(pid)}/status`, 'utf8').catch(() => '');
  const line = /^VmHWM:\s+(\d+) kB$/m.exec(status);
  return line === null ? 0 : Number(line[1]) * 1024;
}
