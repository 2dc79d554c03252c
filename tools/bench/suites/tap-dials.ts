/**
 * Part of the suite `tap`: the guest's writes while a first copy runs beside them, at several replication rates. Idle means that
 * the tap tracks and nothing is sent, which is stricter than a copy held at 0 with its foreground running.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { Bench, Scratch } from '../context.ts';
import { atLeast, atMost, published, type Figure } from '../figure.ts';
import { runLoad, type Latencies } from '../fio.ts';
import { imageOf } from '../images.ts';
import type { Measurements } from '../measurements.ts';
import { startReceiver, startSource, type Source } from '../replicator.ts';
import { median } from '../statistics.ts';
import { checkFreeSpace, copyImage, settle } from '../storage.ts';

const latency = 'p99 beside a copy';
const background = 'background rate';
const idle = 'idle';
const alone = 'without guest writes';
const dialNames = { 0: 'dial 0', 50: 'dial 50', 100: 'dial 100' } as const;
type Dial = keyof typeof dialNames;

const sampleMs = 50;
/** A rate is an average over the last moments: it is read from here on. */
const rateSettlesMs = 500;

interface Guest {
  readonly folder: Scratch;
  readonly source: Source;
  readonly seconds: number;
  readonly regionBytes: number;
}

const write = ({ folder, source, seconds, regionBytes }: Guest): Promise<Latencies> =>
  runLoad(folder, { uri: `nbd+unix:///?socket=${source.socket}`, queueDepth: 1, seconds, regionBytes });

/** Mean rate of the background while `work` runs. */
async function rateDuring<Done>(source: Source, work: () => Promise<Done>): Promise<{ done: Done; rate: number }> {
  const rates: number[] = [];
  const begunMs = performance.now();
  let isOver = false;
  const sampling = (async () => {
    while (!isOver) {
      const { rates: now, backgroundComplete } = await source.status();
      // A copy that has come to its end says nothing about what the guest left it.
      if (performance.now() - begunMs > rateSettlesMs && !backgroundComplete) rates.push(now.backgroundBytesPerSecond);
      await pause(sampleMs);
    }
  })();
  const done = await work();
  isOver = true;
  await sampling;
  return { done, rate: rates.length === 0 ? 0 : rates.reduce((sum, rate) => sum + rate, 0) / rates.length };
}

/** Returns what a reader must know. */
export async function measureDials(bench: Bench, into: Measurements): Promise<string[]> {
  const image = await imageOf(bench.quick ? 'large' : 'random', bench);
  checkFreeSpace(bench.cache, 2 * image.capacityBytes, 'a disk to write to, and its copy');
  const own = bench.folder('dials');
  const disk = own.file('guest.raw');
  copyImage(image.path, disk);
  const notes = new Set<string>();
  for (let round = 0; round < bench.rounds; round += 1) {
    // Two copies, because one would end before the last load does.
    for (const measure of [measureGuest, measureBackground]) {
      const folder = bench.folder('dials');
      settle(own.path);
      const receiver = await startReceiver(bench, folder, { capacityBytes: image.capacityBytes });
      const source = await startSource(bench, folder, {
        ...{ disk, receiver: receiver.address, pair: receiver.pair, scrub: false },
        // The small disk of a quick run must outlast the loads.
        args: ['--replication-rate', '0', ...(bench.quick ? ['--bytes-per-second-max', '80M'] : [])],
      });
      await source.until('the connection', ({ state }) => state === 'running');
      const guest = { folder, source, seconds: bench.quick ? 1 : 2, regionBytes: image.capacityBytes / 16 };
      // The first write to a unit sends all of it: after this, only what the guest writes is sent.
      await write(guest);
      await caughtUp(guest);
      await measure(guest, into);
      const { backgroundComplete } = await source.status();
      if (backgroundComplete)
        notes.add('The copy beside the guest had ended before the last load did: a larger disk is needed.');
      await source.stop();
      await receiver.running.stop();
      folder.drop();
    }
    bench.say(
      `tap beside a copy, round ${round + 1}: p99 idle ${last(into, latency, idle)}, at 50 ${last(into, latency, 'dial 50')} µs`,
    );
  }
  own.drop();
  return [...notes];
}

const caughtUp = ({ source }: Guest): Promise<unknown> =>
  source.until('the foreground to catch up', ({ disks }) => disks.every(({ dirtyBytes }) => dirtyBytes === '0'));

async function measureGuest(guest: Guest, into: Measurements): Promise<void> {
  const { source } = guest;
  await source.pause();
  into.add(latency, idle, 'µs', (await write(guest)).p99Us);
  await source.resume();
  await caughtUp(guest);
  into.add(latency, dialNames[0], 'µs', (await write(guest)).p99Us);
  await caughtUp(guest);
  await measureAt(50, guest, into);
}

async function measureBackground(guest: Guest, into: Measurements): Promise<void> {
  await guest.source.dials({ replicationRate: 50 });
  const unhindered = await rateDuring(guest.source, () => pause(guest.seconds * 500 + rateSettlesMs));
  into.add(background, alone, 'MB/s', unhindered.rate / 1e6);
  await measureAt(100, guest, into);
}

async function measureAt(dial: Dial, guest: Guest, into: Measurements): Promise<void> {
  await guest.source.dials({ replicationRate: dial });
  const { done, rate } = await rateDuring(guest.source, () => write(guest));
  into.add(latency, dialNames[dial], 'µs', done.p99Us);
  into.add(background, dialNames[dial], 'MB/s', rate / 1e6);
}

const last = (into: Measurements, what: string, system: string): number => into.runs(what, system).at(-1) ?? Number.NaN;

export function dialFigures(into: Measurements): Figure[] {
  const shareAt = (dial: Dial): number[] => {
    const rates = into.runs(background, alone);
    return into.runs(background, dialNames[dial]).map((rate, round) => (100 * rate) / (rates[round] ?? Number.NaN));
  };
  const against = (dial: Dial): number[] => into.ratios(latency, dialNames[dial], idle);
  const share = shareAt(50);
  return [
    published('beside a copy at dial 0 (foreground only): p99 against idle', against(0), 'x'),
    atMost('beside a copy at dial 50: p99 against idle', against(50), 2, 'x'),
    atLeast(
      `beside a copy at dial 50: background against alone (${median(into.runs(background, alone)).toFixed(0)} MB/s)`,
      share,
      30,
      '%',
    ),
    published('beside a copy at dial 50: p99 against dial 0', into.ratios(latency, dialNames[50], dialNames[0]), 'x'),
    published('beside a copy at dial 100: p99 against idle', against(100), 'x'),
    published('beside a copy at dial 100: background against alone', shareAt(100), '%'),
  ];
}
