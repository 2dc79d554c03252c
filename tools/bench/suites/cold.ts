/**
 * Suite `cold`: the first copy of a disk that nobody writes to. Everybody reads the source from the disk, ends with everything
 * durable at the destination, and starts with an empty target. Ours encrypts and hashes always.
 */
import { rmSync } from 'node:fs';
import type { Bench, Scratch } from '../context.ts';
import { atLeast, atMost, notMeasured, published, type Figure, type SuiteResult } from '../figure.ts';
import { imageOf, type Image } from '../images.ts';
import { measurements, type Measurements } from '../measurements.ts';
import { makeKey, nbdcopyFrom, nbdcopyTo, nbdkitOnTcp, qemuImgConvert } from '../peers.ts';
import { machineBusySeconds } from '../procfs.ts';
import { isCopied, startReceiver, startSource } from '../replicator.ts';
import { startRelay } from '../relay.ts';
import { checkEqual, checkFreeSpace, evict, loopDevice, makeSparse, settle } from '../storage.ts';

export const ours = 'Landfall';
export const overTls = 'nbdcopy, TLS';
export const plain = 'nbdcopy, plain, pushing';
export const plainPulling = 'nbdcopy, plain, pulling';
export const qemuImg = 'qemu-img convert, plain';
const toDevice = ', to a block device';

interface Copied {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** One way of copying `image` to `target`, which is empty. */
type Copy = (folder: Scratch, image: Image, target: string) => Promise<Copied>;

function oursTo(bench: Bench): Copy {
  return async (folder, image, target) => {
    const { capacityBytes } = image;
    const receiver = await startReceiver(bench, folder, { capacityBytes, disk: target });
    const before = receiver.running.cpuSeconds();
    const begunMs = performance.now();
    const source = await startSource(bench, folder, {
      ...{ disk: image.path, receiver: receiver.address, pair: receiver.pair, scrub: false },
    });
    await source.until('the copy', isCopied, { everyMs: 10 });
    const seconds = (performance.now() - begunMs) / 1000;
    const cpuSeconds = source.running.cpuSeconds() + receiver.running.cpuSeconds() - before;
    await source.stop();
    await receiver.running.stop();
    return { seconds, cpuSeconds };
  };
}

/** A peer pushes into nbdkit at the destination. */
function pushing(copy: typeof nbdcopyTo, hasTls: boolean): Copy {
  return async (folder, image, target) => {
    const key = hasTls ? makeKey(folder) : undefined;
    const server = await nbdkitOnTcp(folder, target, key === undefined ? {} : { key });
    const before = server.running.cpuSeconds();
    const { seconds, cpuSeconds } = await copy(image.path, server.uri);
    const total = cpuSeconds + server.running.cpuSeconds() - before;
    await server.running.stop();
    return { seconds, cpuSeconds: total };
  };
}

/** nbdcopy at the destination fetches from nbdkit at the source. */
const pulling: Copy = async (folder, image, target) => {
  const server = await nbdkitOnTcp(folder, image.path);
  const before = server.running.cpuSeconds();
  const { seconds, cpuSeconds } = await nbdcopyFrom(server.uri, target);
  const total = cpuSeconds + server.running.cpuSeconds() - before;
  await server.running.stop();
  return { seconds, cpuSeconds: total };
};

/** One copy from a cold source, measured; the first round also compares the disks. */
async function measureCopy(
  bench: Bench,
  into: Measurements,
  cell: { readonly image: Image; readonly system: string; readonly copy: Copy; readonly device?: string },
  round: number,
): Promise<void> {
  const { image, system, device } = cell;
  const folder = bench.folder('cold');
  const target = device ?? folder.file('destination.raw');
  if (device === undefined) makeSparse(target, image.capacityBytes);
  evict(image.path);
  settle(folder.path);
  const busyBefore = machineBusySeconds();
  const { seconds, cpuSeconds } = await cell.copy(folder, image, target);
  // Kernel threads that write back what is still dirty work for whoever left it to them.
  const machineSeconds = machineBusySeconds() - busyBefore;
  if (round === 0) checkEqual(image.path, target);
  const gigabytes = image.capacityBytes / 1e9;
  const name = device === undefined ? system : `${system}${toDevice}`;
  into.add(`${image.name}: logical rate`, name, 'GB/s', gigabytes / seconds);
  into.add(`${image.name}: wall`, name, 's', seconds);
  into.add(`${image.name}: CPU per GB, both ends`, name, 's/GB', cpuSeconds / gigabytes);
  into.add(`${image.name}: CPU per GB, whole machine`, name, 's/GB', machineSeconds / gigabytes);
  bench.say(`cold ${image.name} ${name}, round ${round + 1}: ${seconds.toFixed(2)} s, ${cpuSeconds.toFixed(2)} CPU s`);
  rmSync(folder.path, { recursive: true, force: true });
}

export async function measureCold(bench: Bench): Promise<SuiteResult> {
  const into = measurements();
  const notes: string[] = [];
  const images = [await imageOf('mixed', bench), await imageOf('random', bench)];
  const holes = await imageOf('holes', bench);
  const largest = Math.max(...images.map(({ capacityBytes }) => capacityBytes));
  checkFreeSpace(bench.cache, largest, 'a copy');
  const ways: readonly (readonly [string, Copy])[] = [
    [ours, oursTo(bench)],
    [overTls, pushing(nbdcopyTo, true)],
    [plain, pushing(nbdcopyTo, false)],
    [plainPulling, pulling],
  ];
  for (let round = 0; round < bench.rounds; round += 1) {
    for (const image of images) {
      for (const [system, copy] of ways) await measureCopy(bench, into, { image, system, copy }, round);
    }
    const [mixed] = images;
    if (mixed) {
      await measureCopy(bench, into, { image: mixed, system: qemuImg, copy: pushing(qemuImgConvert, false) }, round);
    }
    await measureCopy(bench, into, { image: holes, system: ours, copy: oursTo(bench) }, round);
    await measureCopy(bench, into, { image: holes, system: plain, copy: pushing(nbdcopyTo, false) }, round);
    notes.push(...(await toBlockDevice(bench, into, images, round)));
  }
  const holePercent: number[] = [];
  for (let round = 0; round < bench.rounds; round += 1) holePercent.push(await percentForHoles(bench, holes));
  return {
    figures: figuresOf(into, holePercent, notes),
    cells: into.cells(),
    plots: [
      into.plot('cold-rate', 'First copy of a 4 GiB disk: logical rate', 'GB/s', [
        ['mixed', 'mixed: logical rate'],
        ['random', 'random: logical rate'],
      ]),
      into.plot('cold-cpu', 'First copy of a 4 GiB disk: CPU time of both ends', 'CPU s per GB', [
        ['mixed', 'mixed: CPU per GB, both ends'],
        ['random', 'random: CPU per GB, both ends'],
      ]),
    ],
    notes: [...new Set(notes)],
  };
}

/** The same onto a loop device, where this user may have one. */
async function toBlockDevice(
  bench: Bench,
  into: Measurements,
  images: readonly Image[],
  round: number,
): Promise<string[]> {
  const [, image] = images;
  if (image === undefined) return [];
  const ways: readonly (readonly [string, Copy])[] = [
    [ours, oursTo(bench)],
    [plain, pushing(nbdcopyTo, false)],
  ];
  for (const [system, copy] of ways) {
    const folder = bench.folder('device');
    const device = loopDevice(folder.file('device.raw'), image.capacityBytes);
    if ('refused' in device) return [`The block-device target was left out: no loop device (${device.refused}).`];
    try {
      await measureCopy(bench, into, { image, system, copy, device: device.path }, round);
    } finally {
      device.release();
      folder.drop();
    }
  }
  return [];
}

/** Bytes on the line beyond the content, in percent of the holes: the relay between the ends counts, and no codec hides any. */
async function percentForHoles(bench: Bench, image: Image): Promise<number> {
  const folder = bench.folder('holes');
  const receiver = await startReceiver(bench, folder, { capacityBytes: image.capacityBytes });
  const relay = await startRelay(bench, folder, receiver.address);
  const source = await startSource(bench, folder, {
    ...{ disk: image.path, receiver: relay.address, pair: receiver.pair, scrub: false, codec: 'none' },
  });
  await source.until('the copy', isCopied);
  const beyond = (await relay.bytes()) - image.contentBytes;
  await source.stop();
  await relay.stop();
  await receiver.running.stop();
  folder.drop();
  bench.say(`cold holes: ${beyond} bytes on the line beyond ${image.contentBytes} bytes of content`);
  return (100 * Math.max(0, beyond)) / (image.capacityBytes - image.contentBytes);
}

function figuresOf(into: Measurements, holePercent: readonly number[], notes: readonly string[]): Figure[] {
  const rate = (image: string, peer: string): number[] => into.ratios(`${image}: logical rate`, ours, peer);
  const figures = ['mixed', 'random'].flatMap((image) => {
    const fasterPlain = faster(into, image);
    return [
      atLeast(`${image}: rate against nbdcopy over TLS`, rate(image, overTls), 1.4, 'x'),
      atLeast(
        `${image}: rate against nbdcopy without TLS or hashing (${fasterPlain})`,
        rate(image, fasterPlain),
        0.8,
        'x',
      ),
      atMost(
        `${image}: CPU per GB of both ends against nbdcopy over TLS`,
        into.ratios(`${image}: CPU per GB, both ends`, ours, overTls),
        ...([0.7, 'x'] as const),
      ),
    ];
  });
  const device = into.runs('random: logical rate', `${ours}${toDevice}`);
  return [
    ...figures,
    device.length === 0
      ? notMeasured('random: rate against plain nbdcopy, to a block device', '', notes.join(' '))
      : published(
          'random: rate against plain nbdcopy, to a block device',
          into.ratios('random: logical rate', `${ours}${toDevice}`, `${plain}${toDevice}`),
          'x',
        ),
    atMost('90 % holes: bytes sent for holes', holePercent, 0.1, '%'),
    atMost('90 % holes: wall against nbdcopy, plain', into.ratios('holes: wall', ours, plain), 1.1, 'x'),
  ];
}

/** Which way of nbdcopy is the faster one here: that one is the peer. */
function faster(into: Measurements, image: string): string {
  const best = (system: string): number => Math.max(...into.runs(`${image}: logical rate`, system));
  return best(plainPulling) > best(plain) ? plainPulling : plain;
}
