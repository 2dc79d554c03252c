/**
 * Suite `rate`: the absolute limit of what is sent goes from 100 to 20 MB/s while a copy runs. A relay counts what crosses
 * the line; the peer is nbdkit's rate filter, whose limit is changed in the same way.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Bench } from '../context.ts';
import { always, atMost, notMeasured, published, type Figure, type SuiteResult } from '../figure.ts';
import { imageOf, type Image } from '../images.ts';
import { measurements, type Measurements } from '../measurements.ts';
import { nbdcopyTo, nbdkitOnTcp, uriOf } from '../peers.ts';
import { startRelay, type Relay } from '../relay.ts';
import { startReceiver, startSource } from '../replicator.ts';
import { countedAt, settledAfter, windowRates, type Sample } from '../statistics.ts';
import { checkFreeSpace, makeSparse } from '../storage.ts';

const fast = 100e6;
const slow = 20e6;
/** What is sent in one piece: a count between two pieces is off by as much. */
const pieceBytes = 1024 * 1024;
/** For the plot: long enough to hold some pieces. */
const windowSeconds = 0.25;
const stepSeconds = 0.01;
const tolerance = 0.05;
/** More than is copied before and after the change, and the peer's burst of 2 s. */
const copiedBytesMax = 2 ** 30;
const beforeMs = 1000;
const afterMs = 3000;
/** The steady rate is taken from here on. */
const steadyFromSeconds = 0.5;

interface Change {
  /** Samples from 0.5 s before the change on; the change stands at 0. */
  readonly samples: readonly Sample[];
}

/** Records the line while `change` is made. */
async function across(relay: Relay, change: () => Promise<void>): Promise<Change> {
  await pause(beforeMs);
  const recording = relay.record();
  const begunMs = performance.now();
  await pause(500);
  const changedSeconds = (performance.now() - begunMs) / 1000;
  await change();
  await pause(afterMs);
  const samples = await recording();
  return { samples: samples.map(({ seconds, bytes }) => ({ seconds: seconds - changedSeconds, bytes })) };
}

async function ours(bench: Bench, image: Image): Promise<Change> {
  const folder = bench.folder('rate');
  const receiver = await startReceiver(bench, folder, { capacityBytes: image.capacityBytes });
  const relay = await startRelay(bench, folder, receiver.address);
  const source = await startSource(bench, folder, {
    ...{ disk: image.path, receiver: relay.address, pair: receiver.pair, scrub: false, codec: 'none' },
    args: ['--bytes-per-second-max', String(fast)],
  });
  const change = await across(relay, () => source.dials({ bytesPerSecondMax: String(slow) }));
  await source.stop();
  await relay.stop();
  await receiver.running.stop();
  folder.drop();
  return change;
}

async function peers(bench: Bench, image: Image): Promise<Change> {
  const folder = bench.folder('rate');
  const target = folder.file('destination.raw');
  makeSparse(target, image.capacityBytes);
  const rateFile = folder.file('rate');
  const setRate = (bytesPerSecond: number): void => {
    writeFileSync(`${rateFile}.new`, `${bytesPerSecond * 8}\n`);
    renameSync(`${rateFile}.new`, rateFile);
  };
  setRate(fast);
  const settings = [`rate=${fast * 8}`, `rate-file=${rateFile}`];
  const server = await nbdkitOnTcp(folder, target, { filters: ['rate'], settings });
  const relay = await startRelay(bench, folder, server.address);
  const copying = nbdcopyTo(image.path, uriOf(relay.address)).then(
    () => undefined,
    // It is cut off on purpose, below.
    () => undefined,
  );
  const change = await across(relay, async () => {
    setRate(slow);
  });
  await server.running.kill();
  await relay.stop();
  await copying;
  folder.drop();
  return change;
}

/** What one change tells. */
function judge(into: Measurements, system: string, { samples }: Change): void {
  const after = samples.filter(({ seconds }) => seconds >= 0);
  const settled = settledAfter(after, slow, tolerance, pieceBytes);
  // Never settled counts as the whole time that was watched.
  into.add('time to be within 5 %', system, 'ms', 1000 * (settled ?? afterMs / 1000));
  into.add('settled', system, 'rounds', settled === undefined ? 0 : 1);
  const end = after.at(-1)?.seconds ?? 0;
  if (countedAt(after, end) === countedAt(after, end - 0.5)) throw new Error(`${system} had nothing left to send`);
  const steady = (countedAt(after, end) - countedAt(after, steadyFromSeconds)) / (end - steadyFromSeconds);
  into.add('steady error', system, '%', (100 * Math.abs(steady - slow)) / slow);
}

export async function measureRate(bench: Bench): Promise<SuiteResult> {
  const image = await imageOf(bench.quick ? 'large' : 'random', bench);
  checkFreeSpace(bench.cache, copiedBytesMax, 'the part of a copy');
  const into = measurements();
  const systems: readonly (readonly [string, (bench: Bench, image: Image) => Promise<Change>])[] = [
    ['Landfall', ours],
    ['nbdkit rate filter', peers],
  ];
  const lines = new Map<string, readonly Sample[]>();
  for (let round = 0; round < bench.rounds; round += 1) {
    for (const [system, measure] of systems) {
      const change = await measure(bench, image);
      judge(into, system, change);
      lines.set(system, windowRates(change.samples, windowSeconds, stepSeconds));
      bench.say(
        `rate ${system}, round ${round + 1}: ${into.runs('time to be within 5 %', system).at(-1)?.toFixed(0)} ms`,
      );
    }
  }
  return {
    figures: figuresOf(into),
    cells: into.cells(),
    plots: [
      {
        kind: 'lines',
        name: 'rate-change',
        title: 'Limit changed from 100 to 20 MB/s at 0 s, on the line',
        xTitle: 'seconds since the change',
        yTitle: `MB/s, windows of ${windowSeconds * 1000} ms`,
        series: [...lines].map(([label, rates]) => ({
          label,
          points: rates.map(({ seconds, bytes }) => [seconds, bytes / 1e6] as const),
        })),
      },
    ],
    notes: [
      'Counted on the line, TLS included. The figure is the first moment from which on the count follows 20 MB/s to within 5 % ' +
        'and one piece of 1 MiB, over any time.',
    ],
  };
}

function figuresOf(into: Measurements): Figure[] {
  const settled = into.runs('settled', 'Landfall').map((value) => value === 1);
  const times = into.runs('time to be within 5 %', 'Landfall');
  const peer = into.runs('time to be within 5 %', 'nbdkit rate filter');
  const title = '100 to 20 MB/s: time until within 5 %';
  return [
    settled.some((value) => value) ? atMost(title, times, 200, 'ms') : notMeasured(title, '<= 200', 'never within 5 %'),
    always('100 to 20 MB/s: stays within 5 %', settled),
    atMost('100 to 20 MB/s: steady error', into.runs('steady error', 'Landfall'), 5, '%'),
    published('100 to 20 MB/s: time until within 5 %, nbdkit rate filter', peer, 'ms'),
    published('100 to 20 MB/s: steady error, nbdkit rate filter', into.runs('steady error', 'nbdkit rate filter'), '%'),
  ];
}
