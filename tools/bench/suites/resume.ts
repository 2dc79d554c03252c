/**
 * Suite `resume`: what is sent again after the source or the receiver is killed, or the line is cut, when half of a disk was
 * copied. The relay between both ends counts, so that it does not matter what the killed side remembers.
 */
import { statSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { waitFor } from '../../../demo/harness/wait.ts';
import type { Bench } from '../context.ts';
import { atMost, published, type SuiteResult } from '../figure.ts';
import { imageOf, type Image } from '../images.ts';
import { measurements, type Measurements } from '../measurements.ts';
import { nbdcopyTo, nbdkitOnTcp, rsync, uriOf } from '../peers.ts';
import { start } from '../processes.ts';
import { startRelay, type Relay } from '../relay.ts';
import { isCopied, sentBytes, startReceiver, startSource } from '../replicator.ts';
import { checkEqual, checkFreeSpace, evict, makeSparse, settle } from '../storage.ts';

const mib = 2 ** 20;
const faults = ['source killed', 'receiver killed', 'line cut'] as const;
type Fault = (typeof faults)[number];
const ours = 'Landfall';
/** Long enough for both sides to notice by themselves, short enough for a bench. */
const cutSeconds = 1;
const untilHalfMs = 120_000;

function untilPassed(relay: Relay, bytes: number): Promise<true> {
  return waitFor('half of the disk to pass', async () => ((await relay.bytes()) >= bytes ? true : undefined), {
    timeoutMs: untilHalfMs,
    intervalMs: 5,
  });
}

/** Logical bytes that were sent more than once. */
async function resentAfter(bench: Bench, image: Image, fault: Fault, isFirst: boolean): Promise<number> {
  const folder = bench.folder('resume');
  evict(image.path);
  settle(folder.path);
  let receiver = await startReceiver(bench, folder, { capacityBytes: image.capacityBytes });
  const relay = await startRelay(bench, folder, receiver.address);
  const options = {
    disk: image.path,
    receiver: relay.address,
    pair: receiver.pair,
    scrub: false,
    codec: 'none',
  } as const;
  let source = await startSource(bench, folder, options);
  await untilPassed(relay, image.contentBytes / 2);
  let lineBefore = 0;
  if (fault === 'source killed') {
    await source.running.kill();
    // What is on its way when the source dies still arrives.
    await pause(200);
    lineBefore = await relay.bytes();
    source = await startSource(bench, folder, options);
  } else if (fault === 'receiver killed') {
    receiver = await receiver.restartAfterKill();
  } else {
    await relay.cut(cutSeconds);
    await relay.reset();
  }
  const sent = sentBytes(await source.until(`the rest after "${fault}"`, isCopied));
  const line = await relay.bytes();
  await source.stop();
  await relay.stop();
  await receiver.running.stop();
  if (isFirst) checkEqual(image.path, receiver.disk);
  folder.drop();
  if (fault !== 'source killed') return sent - image.contentBytes;
  // The first source's own count died with it: the line's count, at what a logical byte cost the second one.
  return lineBefore * (sent / (line - lineBefore)) + sent - image.contentBytes;
}

/** nbdcopy knows nothing of an earlier run: everything again. Percent of the disk. */
async function resentByNbdcopy(bench: Bench, image: Image): Promise<number> {
  const folder = bench.folder('resume');
  const target = folder.file('destination.raw');
  makeSparse(target, image.capacityBytes);
  const server = await nbdkitOnTcp(folder, target);
  const relay = await startRelay(bench, folder, server.address);
  const first = start(
    'nbdcopy',
    ['--destination-is-zero', image.path, uriOf(relay.address)],
    folder.file('nbdcopy.log'),
  );
  await untilPassed(relay, image.contentBytes / 2);
  await first.kill();
  await nbdcopyTo(image.path, uriOf(relay.address));
  const resent = (await relay.bytes()) - image.contentBytes;
  await relay.stop();
  await server.running.stop();
  folder.drop();
  return (100 * resent) / image.contentBytes;
}

/** rsync finds what is there by reading and comparing both sides whole. */
async function resentByRsync(bench: Bench, image: Image, into: Measurements): Promise<number> {
  const folder = bench.folder('resume');
  const target = folder.file('destination.raw');
  const first = start('rsync', ['--inplace', '--no-whole-file', image.path, target], folder.file('rsync.log'));
  const half = image.contentBytes / 2;
  const written = (): number => statSync(target, { throwIfNoEntry: false })?.size ?? 0;
  await waitFor('rsync to write half', async () => (written() >= half ? true : undefined), {
    timeoutMs: untilHalfMs,
    intervalMs: 5,
  });
  await first.kill();
  // Its other process ends when the pipe to it does.
  await pause(200);
  const there = written();
  const { literalBytes, seconds } = await rsync(image.path, target);
  checkEqual(image.path, target);
  into.add('wall of the second run, 1 GiB', 'rsync --inplace', 's', seconds);
  folder.drop();
  return (100 * Math.max(0, literalBytes - (image.contentBytes - there))) / image.contentBytes;
}

export async function measureResume(bench: Bench): Promise<SuiteResult> {
  const image = await imageOf('large', bench);
  const small = await imageOf('small', bench);
  checkFreeSpace(bench.cache, image.capacityBytes, 'a copy');
  const into = measurements();
  for (let round = 0; round < bench.rounds; round += 1) {
    for (const fault of faults) {
      const bytes = await resentAfter(bench, image, fault, round === 0);
      into.add(fault, ours, 'MiB', bytes / mib);
      into.add(`${fault}: share of the disk`, ours, '%', (100 * bytes) / image.contentBytes);
      bench.say(`resume, ${fault}, round ${round + 1}: ${(bytes / mib).toFixed(1)} MiB sent again`);
    }
    into.add('killed: share of the disk', 'nbdcopy', '%', await resentByNbdcopy(bench, small));
    into.add('killed: share of the disk', 'rsync --inplace', '%', await resentByRsync(bench, small, into));
  }
  const shareTitle = (peer: string): string => `killed at half, share of the disk sent again by ${peer}`;
  return {
    figures: [
      ...faults.map((fault) => atMost(`${fault} at half: sent again`, into.runs(fault, ours), 64, 'MiB')),
      atMost(
        'source killed at half: sent again, share of the disk',
        into.runs('source killed: share of the disk', ours),
        ...([0.1, '%'] as const),
      ),
      ...['nbdcopy', 'rsync --inplace'].map((peer) =>
        published(shareTitle(peer), into.runs('killed: share of the disk', peer), '%'),
      ),
    ],
    cells: into.cells(),
    plots: [
      into.plot(
        'resume',
        'Sent again after a fault at half of 8 GiB',
        'MiB',
        faults.map((fault) => [fault, fault] as const),
      ),
    ],
    notes: [
      'Sent again counts everything that was sent twice: what was lost on its way (a real difference) is in it as well. ' +
        'rsync sends little again but reads both disks whole; nbdcopy begins anew. Both on 1 GiB.',
    ],
  };
}
