/**
 * Suite `tap`: what a guest's write costs in the tap, against the NBD servers nbdkit and qemu-nbd on files of the same kind, and
 * beside a running background (tap-dials.ts). The tap tracks writes as in production; nothing is pinned to a core.
 */
import type { Bench } from '../context.ts';
import { atLeast, atMost, published, type SuiteResult } from '../figure.ts';
import { runLoad } from '../fio.ts';
import { imageOf, type Image } from '../images.ts';
import { measurements, type Measurements } from '../measurements.ts';
import { nbdkitOnSocket, qemuNbdOnSocket } from '../peers.ts';
import { startTap } from '../replicator.ts';
import { checkFreeSpace, copyImage, settle, warm } from '../storage.ts';
import { dialFigures, measureDials } from './tap-dials.ts';

const depths = [1, 16] as const;
const tap = 'Landfall tap';
const nbdkit = 'nbdkit file';
const qemu = 'qemu-nbd';

export async function measureTap(bench: Bench): Promise<SuiteResult> {
  const image = await imageOf('small', bench);
  checkFreeSpace(bench.cache, 3 * image.capacityBytes, 'a disk for each server');
  const into = measurements();
  await measureServers(bench, image, into);
  const dialNotes = await measureDials(bench, into);
  const ratio = (what: string, peer: string): number[] => into.ratios(what, tap, peer);
  return {
    figures: [
      atMost('4 KiB random write, depth 1: p50 against nbdkit file', ratio('p50, depth 1', nbdkit), 1.0, 'x'),
      atMost('4 KiB random write, depth 1: p50 against qemu-nbd', ratio('p50, depth 1', qemu), 0.65, 'x'),
      atMost('4 KiB random write, depth 1: p99 against nbdkit file', ratio('p99, depth 1', nbdkit), 1.2, 'x'),
      published('4 KiB random write, depth 1: p99 against qemu-nbd', ratio('p99, depth 1', qemu), 'x'),
      atLeast('4 KiB random write, depth 16: IOPS against nbdkit file', ratio('IOPS, depth 16', nbdkit), 0.95, 'x'),
      published('4 KiB random write, depth 16: IOPS against qemu-nbd', ratio('IOPS, depth 16', qemu), 'x'),
      ...dialFigures(into),
    ],
    cells: into.cells(),
    plots: [
      into.plot('tap-latency', 'Guest write of 4 KiB, one at a time: latency', 'µs', [
        ['p50', 'p50, depth 1'],
        ['p99', 'p99, depth 1'],
      ]),
      into.plot('tap-dials', 'Guest write of 4 KiB beside a first copy: p99', 'µs', [['p99', 'p99 beside a copy']]),
    ],
    notes: dialNotes,
  };
}

/** All servers run side by side, each with a file of its own; the load goes to one after the other. */
async function measureServers(bench: Bench, image: Image, into: Measurements): Promise<void> {
  const folder = bench.folder('tap');
  const files = ['tap.raw', 'nbdkit.raw', 'qemu.raw'].map((name) => folder.file(name));
  const [tapFile = '', nbdkitFile = '', qemuFile = ''] = files;
  for (const file of files) {
    copyImage(image.path, file);
    warm(file);
  }
  settle(folder.path);
  const ours = await startTap(bench, folder, tapFile);
  const theirs = [await nbdkitOnSocket(folder, nbdkitFile), await qemuNbdOnSocket(folder, qemuFile)];
  const targets: readonly (readonly [string, string])[] = [
    [tap, `nbd+unix:///?socket=${ours.socket}`],
    [nbdkit, theirs[0]?.uri ?? ''],
    [qemu, theirs[1]?.uri ?? ''],
  ];
  const seconds = bench.quick ? 1 : 4;
  for (let round = 0; round < bench.rounds; round += 1) {
    for (const queueDepth of depths) {
      for (const [system, uri] of targets) {
        const load = { uri, queueDepth, seconds, regionBytes: image.capacityBytes, seed: round + 1 };
        const { p50Us, p99Us, iops } = await runLoad(folder, load);
        into.add(`p50, depth ${queueDepth}`, system, 'µs', p50Us);
        into.add(`p99, depth ${queueDepth}`, system, 'µs', p99Us);
        into.add(`IOPS, depth ${queueDepth}`, system, '/s', iops);
        bench.say(`tap ${system}, depth ${queueDepth}, round ${round + 1}: p50 ${p50Us} µs, p99 ${p99Us} µs`);
        // What one has left dirty is not written back while the next is measured.
        settle(folder.path);
      }
    }
  }
  for (const { running } of [ours, ...theirs]) await running.stop();
  folder.drop();
}
