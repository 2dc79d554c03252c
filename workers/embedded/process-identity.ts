/**
 * Which process is meant: a pid together with its start time, because pids are used again. Linux only (/proc).
 * It must never signal a process by pid alone.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot, as /proc gives it. */
  readonly startTicks: string;
}

interface ProcessStat {
  readonly state: string;
  readonly startTicks: string;
}

function statOf(pid: number): ProcessStat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the name in brackets and may hold anything: count from behind its last bracket.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', startTicks: fields[19] ?? '' };
  } catch {
    return undefined;
  }
}

/** Undefined when there is no such process (any more). */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = statOf(pid);
  return stat && { pid, startTicks: stat.startTicks };
}

/** A process that has ended but was not yet waited for does not count as alive. */
export function isAlive(identity: ProcessIdentity): boolean {
  const stat = statOf(identity.pid);
  return stat !== undefined && stat.startTicks === identity.startTicks && stat.state !== 'Z';
}

/** Asks a process to end, and kills it when it has not ended in time. Does nothing when it is gone. */
export async function endProcess(identity: ProcessIdentity, signal: NodeJS.Signals, waitMsMax: number): Promise<void> {
  for (const [ask, waitMs] of [
    [signal, waitMsMax],
    ['SIGKILL', 5_000],
  ] as const) {
    if (!isAlive(identity)) return;
    process.kill(identity.pid, ask);
    for (const until = Date.now() + waitMs; Date.now() < until && isAlive(identity);) await sleep(50);
  }
}
