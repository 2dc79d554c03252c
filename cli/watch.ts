// landfall watch: shows a migration while it goes on. Events of the live stream say when to look again; while the stream
// is away, it looks every second. On a terminal the lines are drawn over; elsewhere a line is printed when it changes.
import { setTimeout as sleep } from 'node:timers/promises';
import { event, type Migration, type VmMigration } from '../contracts/rest.ts';
import type { ApiClient } from './client.ts';
import { describeEnd } from './describe.ts';
import { findMigration } from './find.ts';
import { formatBytes, formatRate, formatSeconds, progressBar } from './format.ts';
import { readEvents } from './server-sent-events.ts';

const pollMs = 1_000;
/** Several events of one second need one look. */
const restMs = 200;

/** Follows until every VM has ended; sets the exit status to 1 unless all completed. */
export async function watchMigration(client: ApiClient, id: string, json: boolean, only?: string): Promise<void> {
  const screen = json ? jsonScreen() : process.stdout.isTTY ? terminalScreen() : lineScreen();
  const ending = new AbortController();
  const bell = createBell();
  const listening = listen(client, id, bell.ring, ending.signal);
  try {
    for (;;) {
      const members = membersOf(await findMigration(client, id), only);
      screen.show(members);
      if (members.every((member) => member.endedAt !== null)) {
        screen.end(members);
        if (members.some((member) => member.status !== 'Completed')) process.exitCode = 1;
        return;
      }
      await bell.wait(pollMs);
      await sleep(restMs);
    }
  } finally {
    ending.abort();
    await listening;
  }
}

function membersOf({ vmMigrations }: Migration, only: string | undefined): VmMigration[] {
  return vmMigrations.filter((member) => only === undefined || member.id === only);
}

/** Rings for every event of the migration; comes back by itself after a break, with the last id. */
async function listen(client: ApiClient, id: string, ring: () => void, signal: AbortSignal): Promise<void> {
  let lastEventId: string | undefined;
  while (!signal.aborted) {
    try {
      const headers: Record<string, string> = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
      for await (const message of readEvents(await client.openStream('/events', { id }, headers, signal))) {
        lastEventId = message.id;
        if (event.safeParse(JSON.parse(message.data)).success) ring();
      }
    } catch {
      // The watcher polls while the stream is away.
    }
    await sleep(pollMs, undefined, { signal }).catch(() => undefined);
  }
}

interface Bell {
  readonly ring: () => void;
  /** Until it rings, or so long. */
  readonly wait: (milliseconds: number) => Promise<void>;
}

function createBell(): Bell {
  let wake: (() => void) | undefined;
  return {
    ring: () => wake?.(),
    wait: (milliseconds) =>
      new Promise((resolve) => {
        const timer = setTimeout(resolve, milliseconds);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      }),
  };
}

interface Screen {
  readonly show: (members: readonly VmMigration[]) => void;
  readonly end: (members: readonly VmMigration[]) => void;
}

function terminalScreen(): Screen {
  let drawn = 0;
  return {
    show(members) {
      const lines = members.flatMap(linesOf).map((line) => line.slice(0, (process.stdout.columns || 120) - 1));
      const up = drawn === 0 ? '' : `\u001b[${drawn}A`;
      process.stdout.write(`${up}${lines.map((line) => `\u001b[2K${line}\n`).join('')}\u001b[J`);
      drawn = lines.length;
    },
    end: printEnd,
  };
}

function lineScreen(): Screen {
  const printed = new Map<string, string>();
  return {
    show(members) {
      for (const member of members) {
        const line = summaryOf(member);
        if (printed.get(member.id) !== line) process.stdout.write(`${line}\n`);
        printed.set(member.id, line);
      }
    },
    end: printEnd,
  };
}

/** One JSON object a line, each a whole VM migration, when something changed. */
function jsonScreen(): Screen {
  const printed = new Map<string, string>();
  return {
    show(members) {
      for (const member of members) {
        const line = JSON.stringify(member);
        if (printed.get(member.id) !== line) process.stdout.write(`${line}\n`);
        printed.set(member.id, line);
      }
    },
    end: () => undefined,
  };
}

function printEnd(members: readonly VmMigration[]): void {
  process.stdout.write(`${members.map(describeEnd).join('\n')}\n`);
}

/** What is drawn for one VM: its state, and the bar while bytes move. */
export function linesOf(member: VmMigration): string[] {
  const why = member.waitingFor ?? member.failure?.message ?? member.reason?.message ?? '';
  const head = `${member.vm.name}  ${member.state}${why === '' || member.endedAt !== null ? '' : ` (${why})`}`;
  const { progress } = member;
  if (progress === null || member.endedAt !== null) return [head];
  const { backgroundBytesPerSecond, foregroundBytesPerSecond } = progress.rates;
  const rate = backgroundBytesPerSecond + foregroundBytesPerSecond;
  const left = Number(progress.remainingBytes);
  return [
    head,
    `  ${progressBar(progress.percent / 100)} ${progress.percent.toFixed(1).padStart(5)} %  ${formatBytes(progress.copiedBytes)} of ${formatBytes(progress.allocatedBytes)}`,
    `  ${formatRate(rate)} (background ${formatRate(backgroundBytesPerSecond)}, foreground ${formatRate(foregroundBytesPerSecond)}), ${formatBytes(left)} remain${etaOf(member, left, rate)}`,
  ];
}

function etaOf({ ready }: VmMigration, left: number, rate: number): string {
  if (ready || rate < 1 || left === 0) return '';
  return `, about ${formatSeconds(left / rate)}`;
}

function summaryOf(member: VmMigration): string {
  const percent = member.progress === null ? '' : ` ${Math.floor(member.progress.percent / 5) * 5} %`;
  const why = member.waitingFor ?? member.failure?.message ?? '';
  return `${member.vm.name}: ${member.status}, ${member.state}${percent}${why === '' ? '' : ` (${why})`}`;
}
