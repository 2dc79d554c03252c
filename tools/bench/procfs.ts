// What the kernel says about a process, read from the text of its files below /proc. It must not start or end anything.
import { readFileSync } from 'node:fs';

/** Ticks per second in these files: fixed for user space on Linux, whatever the kernel's own rate. */
const ticksPerSecond = 100;

/** User and system seconds of a process and of its ended children, from the text of its `stat`. */
export function cpuSecondsIn(stat: string): number {
  // The name stands in parentheses and may hold anything; the fields are counted from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = [11, 12, 13, 14].map((at) => Number(fields[at]));
  const sum = ticks.reduce((total, value) => total + value, 0);
  if (Number.isNaN(sum)) throw new Error(`not the text of a stat file: ${stat.slice(0, 60)}`);
  return sum / ticksPerSecond;
}

/** Most memory that was ever resident, from the text of `status`; undefined for a process that has ended. */
export function residentPeakBytesIn(status: string): number | undefined {
  const found = /^VmHWM:\s+(\d+) kB$/m.exec(status);
  return found === null ? undefined : Number(found[1]) * 1024;
}

/** Seconds in which some core of the machine worked, kernel threads and interrupts included, from the text of /proc/stat. */
export function busySecondsIn(stat: string): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = (/^cpu +(.*)$/m.exec(stat)?.[1] ?? '')
    .split(' ')
    .map(Number);
  return (user + nice + system + irq + softirq) / ticksPerSecond;
}

export const cpuSecondsOf = (pid: number): number => cpuSecondsIn(readFileSync(`/proc/${pid}/stat`, 'utf8'));

export function residentPeakBytesOf(pid: number): number | undefined {
  try {
    return residentPeakBytesIn(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    // It has ended between two looks.
    return undefined;
  }
}

export function childrenOf(pid: number): number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return text === '' ? [] : text.split(' ').map(Number);
  } catch {
    return [];
  }
}

export const machineBusySeconds = (): number => busySecondsIn(readFileSync('/proc/stat', 'utf8'));
