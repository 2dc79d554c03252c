/**
 * Suite `converge`: a disk that is written to all the time, over a line of limited bandwidth. The line is the lab's WAN; what the
 * guest wrote is known from fio's own log. Contents cannot be compressed, so that the bound is one.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Bench } from '../context.ts';
import { always, atMost, published, type Figure, type SuiteResult } from '../figure.ts';
import { startLoad, uniqueBytesIn, type Load } from '../fio.ts';
import { imageOf, type Image } from '../images.ts';
import { measurements, type Measurements } from '../measurements.ts';
import { startRelay, type Relay } from '../relay.ts';
import {
  remainingBytes,
  sentBytes,
  startReceiver,
  startSource,
  type Source,
  type SourceStatus,
} from '../replicator.ts';
import { checkFreeSpace, copyImage, settle } from '../storage.ts';

const link = 60e6;
const writeThrottling = 50;
/** Longer than any run: the load is ended when the run is. */
const loadSeconds = 300;
const system = 'Landfall';

interface Followed {
  readonly source: Source;
  readonly relay: Relay;
  /** Milliseconds of `performance.now()` at the start of the source. */
  readonly begunMs: number;
  /** Points of (seconds, MB that remain). */
  readonly remaining: (readonly [number, number])[];
}

/** Runs `work` beside a copy over the line with a guest that writes; returns how many different bytes it wrote. */
async function beside(
  bench: Bench,
  run: { readonly disk: string; readonly image: Image; readonly load: Omit<Load, 'uri' | 'seconds' | 'writeLog'> },
  args: readonly string[],
  work: (followed: Followed) => Promise<void>,
): Promise<number> {
  const folder = bench.folder('converge');
  settle(folder.path);
  const receiver = await startReceiver(bench, folder, { capacityBytes: run.image.capacityBytes });
  const relay = await startRelay(bench, folder, receiver.address, link);
  const begunMs = performance.now();
  const source = await startSource(bench, folder, {
    ...{ disk: run.disk, receiver: relay.address, pair: receiver.pair, args },
  });
  const writeLog = folder.file('writes.log');
  const uri = `nbd+unix:///?socket=${source.socket}`;
  const load = startLoad(folder, { ...run.load, uri, seconds: loadSeconds, writeLog });
  await work({ source, relay, begunMs, remaining: [] });
  if (!load.running.runs()) throw new Error(`the guest's writes ended too early: ${load.running.log()}`);
  await load.stop();
  const unique = uniqueBytesIn(readFileSync(writeLog, 'utf8'));
  await source.stop();
  await relay.stop();
  await receiver.running.stop();
  folder.drop();
  return unique;
}

const secondsSince = (begunMs: number): number => (performance.now() - begunMs) / 1000;

function note(followed: Followed, status: SourceStatus): void {
  followed.remaining.push([secondsSince(followed.begunMs), remainingBytes(status) / 1e6]);
}

/** Skewed writes at half the line. */
async function measureReady(
  bench: Bench,
  image: Image,
  disk: string,
  into: Measurements,
): Promise<Followed['remaining']> {
  const load = {
    ...{ queueDepth: 4, regionBytes: Math.floor(image.capacityBytes / 10), distribution: 'zipf:1.1' },
    bytesPerSecondMax: link / 2,
  };
  let seconds = 0;
  let sent = 0;
  let wire = 0;
  let left = 0;
  let line: Followed['remaining'] = [];
  let firstPass: number | undefined;
  let waitedFor: readonly string[] = [];
  const unique = await beside(bench, { disk, image, load }, [], async (followed) => {
    const status = await followed.source.until(
      'ready under writes',
      (now) => {
        note(followed, now);
        if (now.backgroundComplete) firstPass ??= secondsSince(followed.begunMs);
        if (!now.ready.ready) waitedFor = now.ready.reasons.map(({ code }) => code);
        return now.ready.ready;
      },
      { everyMs: 50 },
    );
    seconds = secondsSince(followed.begunMs);
    [sent, left, line] = [sentBytes(status), remainingBytes(status), followed.remaining];
    wire = await followed.relay.bytes();
  });
  const necessary = image.allocatedBytes + unique;
  into.add('time to ready', system, 's', seconds);
  into.add('everything was sent once', system, 's', firstPass ?? seconds);
  into.add('time to ready against the bound', system, 'x', seconds / (necessary / link));
  into.add('everything sent once against the bound', system, 'x', (firstPass ?? seconds) / (necessary / link));
  into.add('time to ready against the disk alone', system, 'x', seconds / ((image.allocatedBytes - left) / link));
  into.add('bytes sent', system, 'MB', sent / 1e6);
  into.add('bytes sent against necessary', system, 'x', sent / necessary);
  into.add('bytes on the line against necessary', system, 'x', wire / necessary);
  into.add('different bytes written by the guest', system, 'MB', unique / 1e6);
  bench.say(
    `converge: ready after ${seconds.toFixed(1)} s, bound ${(necessary / link).toFixed(1)} s; last in the way: ${waitedFor.join(', ')}`,
  );
  return line;
}

/** Writes all over the disk at 1.5 times the line, with and without write throttling. */
async function measureThrottled(bench: Bench, image: Image, disk: string, into: Measurements): Promise<void> {
  const load = {
    queueDepth: 8,
    regionBytes: image.capacityBytes,
    blockBytes: 16 * 1024,
    bytesPerSecondMax: link * 1.5,
  };
  const throttled = ['--write-throttling', String(writeThrottling)];
  await beside(bench, { disk, image, load }, throttled, async ({ source, begunMs }) => {
    const isReady = await source
      .until('ready with throttling', ({ ready }) => ready.ready, { timeoutMs: bench.quick ? 30_000 : 60_000 })
      .then(
        () => true,
        (error: unknown) => {
          bench.say(error instanceof Error ? error.message : String(error));
          return false;
        },
      );
    into.add('1.5 x the line, throttling on: ready', system, 'rounds', isReady ? 1 : 0);
    into.add('1.5 x the line, throttling on: time', system, 's', secondsSince(begunMs));
  });
  await beside(bench, { disk, image, load }, [], async ({ source }) => {
    await pause(((1.5 * image.capacityBytes) / link) * 1000 + 5000);
    const { ready, converging } = await source.status();
    into.add(
      '1.5 x the line, throttling off: says that it does not converge',
      system,
      'rounds',
      converging === false ? 1 : 0,
    );
    into.add('1.5 x the line, throttling off: ready', system, 'rounds', ready.ready ? 1 : 0);
  });
}

export async function measureConverge(bench: Bench): Promise<SuiteResult> {
  const image = await imageOf('small', bench);
  const tiny = await imageOf('tiny', bench);
  checkFreeSpace(bench.cache, 2 * image.capacityBytes + 2 * tiny.capacityBytes, 'disks to write to, and their copies');
  const own = bench.folder('converge');
  const [disk, tinyDisk] = [own.file('guest.raw'), own.file('tiny.raw')];
  copyImage(image.path, disk);
  copyImage(tiny.path, tinyDisk);
  const into = measurements();
  let line: Followed['remaining'] = [];
  for (let round = 0; round < bench.rounds; round += 1) {
    line = await measureReady(bench, image, disk, into);
    await measureThrottled(bench, tiny, tinyDisk, into);
  }
  own.drop();
  return {
    figures: figuresOf(into),
    cells: into.cells(),
    plots: [
      {
        ...{ kind: 'lines', name: 'converge-remaining', title: 'First copy under skewed writes at half the line' },
        ...{ xTitle: 'seconds since the start', yTitle: 'MB that the destination lacks' },
        series: [{ label: system, points: line }],
      },
    ],
    notes: [
      `The line carries ${link / 1e6} MB/s. Necessary: what the disk holds and every block that the guest wrote, once. ` +
        'Ready allows 64 MiB to remain; "the disk alone" is the bound without the guest\'s writes and without that rest.',
    ],
  };
}

function figuresOf(into: Measurements): Figure[] {
  const runs = (what: string): readonly number[] => into.runs(what, system);
  const yes = (what: string): boolean[] => runs(what).map((value) => value === 1);
  const off = '1.5 x the line, throttling off';
  return [
    atMost(
      'writes at half the line: time to ready against the bound',
      runs('time to ready against the bound'),
      1.15,
      'x',
    ),
    published(
      'writes at half the line: until everything was sent once, against the bound',
      runs('everything sent once against the bound'),
      'x',
    ),
    published(
      'writes at half the line: time against the disk alone',
      runs('time to ready against the disk alone'),
      'x',
    ),
    atMost('writes at half the line: bytes sent against necessary', runs('bytes sent against necessary'), 1.1, 'x'),
    always('writes at 1.5 x the line: ready with throttling on', yes('1.5 x the line, throttling on: ready')),
    always('writes at 1.5 x the line: "not converging" with it off', yes(`${off}: says that it does not converge`)),
    always(
      'writes at 1.5 x the line: not ready with it off',
      yes(`${off}: ready`).map((ready) => !ready),
    ),
  ];
}
