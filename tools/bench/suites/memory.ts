/** Suite `memory`: the most memory that was ever resident at each side, for a full disk and for a huge sparse one. */
import type { Bench } from '../context.ts';
import { atMost, published, type Figure, type SuiteResult } from '../figure.ts';
import { imageOf, type Image } from '../images.ts';
import { measurements, type Measurements } from '../measurements.ts';
import { nbdcopyTo, nbdkitOnTcp } from '../peers.ts';
import { isCopied, startReceiver, startSource } from '../replicator.ts';
import { checkFreeSpace, makeSparse, settle } from '../storage.ts';

const mib = 2 ** 20;
const sourceSide = 'source';
const receiverSide = 'destination';

/** Until ready: with the scrub, hashes of everything on both sides. */
async function ours(bench: Bench, image: Image, into: Measurements): Promise<void> {
  const folder = bench.folder('memory');
  const receiver = await startReceiver(bench, folder, { capacityBytes: image.capacityBytes });
  const source = await startSource(bench, folder, {
    ...{ disk: image.path, receiver: receiver.address, pair: receiver.pair },
  });
  await source.until('ready', (status) => status.ready.ready && isCopied(status));
  into.add(`${image.name}: ${sourceSide}`, 'Landfall', 'MiB', source.running.residentPeakBytes() / mib);
  into.add(`${image.name}: ${receiverSide}`, 'Landfall', 'MiB', receiver.running.residentPeakBytes() / mib);
  await source.stop();
  await receiver.running.stop();
  folder.drop();
}

async function peers(bench: Bench, image: Image, into: Measurements): Promise<void> {
  const folder = bench.folder('memory');
  const target = folder.file('destination.raw');
  makeSparse(target, image.capacityBytes);
  const server = await nbdkitOnTcp(folder, target);
  const { residentPeakBytes } = await nbdcopyTo(image.path, server.uri);
  into.add(`${image.name}: ${sourceSide}`, 'nbdcopy', 'MiB', residentPeakBytes / mib);
  into.add(`${image.name}: ${receiverSide}`, 'nbdcopy', 'MiB', server.running.residentPeakBytes() / mib);
  await server.running.stop();
  folder.drop();
}

export async function measureMemory(bench: Bench): Promise<SuiteResult> {
  const images = [await imageOf('large', bench), await imageOf('huge', bench)];
  checkFreeSpace(bench.cache, Math.max(...images.map(({ allocatedBytes }) => allocatedBytes)), 'a copy');
  const into = measurements();
  for (let round = 0; round < bench.rounds; round += 1) {
    for (const image of images) {
      await ours(bench, image, into);
      if (hasPeer(image)) await peers(bench, image, into);
      settle(bench.cache);
      bench.say(`memory ${image.name}, round ${round + 1}: done`);
    }
  }
  return {
    figures: images.flatMap((image) => [
      ...[sourceSide, receiverSide].map((side) => figure(into, image, side)),
      ...(hasPeer(image) ? [sourceSide, receiverSide] : []).map((side) =>
        published(
          `${titleOf(image)}: ${side}, nbdcopy and nbdkit`,
          into.runs(`${image.name}: ${side}`, 'nbdcopy'),
          'MiB',
        ),
      ),
    ]),
    cells: into.cells(),
    plots: [
      into.plot(
        'memory',
        'Most memory resident',
        'MiB',
        images.flatMap((image) =>
          [sourceSide, receiverSide].map((side) => [`${titleOf(image)}, ${side}`, `${image.name}: ${side}`] as const),
        ),
      ),
    ],
    notes: [
      'Resident pages of the binary and of files that are mapped count as well (VmHWM). nbdcopy is not run on the sparse disk: it ' +
        'asks the kernel for each page whether it is cached, and had over 3 GiB resident after two minutes of that.',
    ],
  };
}

/** The peer does not end within minutes on the sparse disk. */
const hasPeer = ({ name }: Image): boolean => name !== 'huge';

const titleOf = ({ capacityBytes }: Image): string =>
  capacityBytes >= 2 ** 40 ? `${capacityBytes / 2 ** 40} TiB sparse` : `${capacityBytes / 2 ** 30} GiB`;

function figure(into: Measurements, image: Image, side: string): Figure {
  return atMost(`${titleOf(image)}: ${side}`, into.runs(`${image.name}: ${side}`, 'Landfall'), 384, 'MiB');
}
