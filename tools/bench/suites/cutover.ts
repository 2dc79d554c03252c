/**
 * Suite `cutover`: from FREEZE accepted to ACTIVE persisted, when 512 units of 64 KiB are still to be sent: each in a leaf of its
 * own (the hard case), and all in a row. The time is the product's own `dataPathMs`.
 */
import type { Bench } from '../context.ts';
import { atMost, published, type SuiteResult } from '../figure.ts';
import { writeUnits } from '../fio.ts';
import { imageOf, type Image } from '../images.ts';
import { measurements } from '../measurements.ts';
import { rsync } from '../peers.ts';
import { startReceiver, startSource } from '../replicator.ts';
import { checkEqual, checkFreeSpace, copyImage, settle, warm } from '../storage.ts';

const units = 512;
const unitBytes = 64 * 1024;
const leafBytes = 1024 * 1024;
const token = 1;
/** How far apart the units begin. */
const cases = { 'in 512 leaves': leafBytes, 'in a row': unitBytes } as const;
type Case = keyof typeof cases;

interface Cut {
  readonly dataPathMs: number;
  readonly residueBytes: number;
}

async function cutOver(bench: Bench, image: Image, disk: string, which: Case, seed: number): Promise<Cut> {
  const folder = bench.folder('cutover');
  const receiver = await startReceiver(bench, folder, { capacityBytes: image.capacityBytes });
  const source = await startSource(bench, folder, { disk, receiver: receiver.address, pair: receiver.pair });
  await source.until(
    'ready',
    ({ ready, disks }) => ready.ready && disks.every(({ remainingBytes }) => remainingBytes === '0'),
  );
  settle(folder.path);
  await source.pause();
  const uri = `nbd+unix:///?socket=${source.socket}`;
  await writeUnits(folder, { uri, count: units, unitBytes, strideBytes: cases[which], seed });
  const residueBytes = (await source.status()).disks.reduce((sum, { dirtyBytes }) => sum + Number(dirtyBytes), 0);
  // Sent one after the other on one connection: nothing of the residue is gone before the freeze.
  await Promise.all([source.resume(), source.freeze(token)]);
  await source.until('equal roots', ({ handover }) => handover.state === 'roots-equal', { everyMs: 1 });
  await source.handOver(token);
  const { handover } = await source.until('ownership', ({ handover }) => handover.state === 'active', { everyMs: 1 });
  await source.stop();
  await receiver.running.stop();
  checkEqual(disk, receiver.disk);
  folder.drop();
  return { dataPathMs: handover.dataPathMs ?? Number.NaN, residueBytes };
}

export async function measureCutover(bench: Bench): Promise<SuiteResult> {
  // 512 leaves need half a GiB, in a quick run as well.
  const image = await imageOf(bench.quick ? 'leaves' : 'small', bench);
  checkFreeSpace(bench.cache, 3 * image.capacityBytes, 'a disk to write to, and two copies');
  const own = bench.folder('cutover');
  const [disk, peersCopy] = [own.file('guest.raw'), own.file('rsync.raw')];
  copyImage(image.path, disk);
  copyImage(image.path, peersCopy);
  const into = measurements();
  for (let round = 0; round < bench.rounds; round += 1) {
    for (const [at, which] of (Object.keys(cases) as Case[]).entries()) {
      const { dataPathMs, residueBytes } = await cutOver(bench, image, disk, which, 2 * round + at + 1);
      into.add(`residue ${which}`, 'Landfall', 'ms', dataPathMs);
      into.add(`residue ${which}: size`, 'Landfall', 'MiB', residueBytes / 2 ** 20);
      bench.say(`cutover ${which}, round ${round + 1}: ${dataPathMs} ms, ${(residueBytes / 2 ** 20).toFixed(1)} MiB`);
    }
    warm(peersCopy);
    const { seconds } = await rsync(disk, peersCopy);
    into.add('the same residue, guest stopped', 'rsync --inplace', 'ms', seconds * 1000);
  }
  own.drop();
  return {
    figures: [
      atMost('FREEZE to ACTIVE, 512 x 64 KiB in 512 leaves', into.runs('residue in 512 leaves', 'Landfall'), 150, 'ms'),
      published('FREEZE to ACTIVE, 512 x 64 KiB in a row', into.runs('residue in a row', 'Landfall'), 'ms'),
      published(
        'the same residues with the guest stopped, rsync --inplace of 1 GiB',
        into.runs('the same residue, guest stopped', 'rsync --inplace'),
        'ms',
      ),
    ],
    cells: into.cells(),
    plots: [
      into.plot('cutover', 'FREEZE accepted to ACTIVE persisted', 'ms', [
        ['in 512 leaves', 'residue in 512 leaves'],
        ['in a row', 'residue in a row'],
      ]),
    ],
    notes: ['The bench asks for equal roots every millisecond and hands over at once; who asks less often adds that.'],
  };
}
