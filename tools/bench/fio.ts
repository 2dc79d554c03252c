/** The guest's writes: fio's NBD engine on the socket of a tap or of a peer. */
import { runTimed, start, type Running } from './processes.ts';
import type { Scratch } from './context.ts';
import { readFileSync } from 'node:fs';

export interface Load {
  readonly uri: string;
  readonly queueDepth: number;
  readonly seconds: number;
  /** Only this much of the beginning of the disk is written. */
  readonly regionBytes: number;
  /** As fio says it: `zipf:1.1`; by default all blocks alike. */
  readonly distribution?: string;
  readonly bytesPerSecondMax?: number;
  /** Where every write is noted, with its time. */
  readonly writeLog?: string;
  readonly seed?: number;
  /** By default 4 KiB. */
  readonly blockBytes?: number;
}

export interface Latencies {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly iops: number;
}

export interface RunningLoad {
  readonly running: Running;
  /** Ends it early, and waits. */
  stop(): Promise<void>;
  /** Waits for its end. */
  result(): Promise<Latencies>;
}

const blockBytes = 4096;
let count = 0;

/** Starts random writes that no codec can compress. */
export function startLoad(folder: Scratch, load: Load): RunningLoad {
  count += 1;
  const output = folder.file(`fio-${count}.json`);
  const running = start(
    'fio',
    [
      ...[
        '--name=load',
        '--thread',
        '--ioengine=nbd',
        `--uri=${load.uri}`,
        '--rw=randwrite',
        `--bs=${load.blockBytes ?? blockBytes}`,
      ],
      ...[`--iodepth=${load.queueDepth}`, `--size=${load.regionBytes}`, '--time_based', `--runtime=${load.seconds}`],
      ...['--norandommap', '--randrepeat=1', `--randseed=${load.seed ?? 1}`, '--refill_buffers'],
      ...['--output-format=json', `--output=${output}`],
      ...(load.distribution === undefined ? [] : [`--random_distribution=${load.distribution}`]),
      ...(load.bytesPerSecondMax === undefined ? [] : [`--rate=${Math.round(load.bytesPerSecondMax)}`]),
      ...(load.writeLog === undefined ? [] : [`--write_iolog=${load.writeLog}`]),
    ],
    folder.file('fio.log'),
  );
  return {
    running,
    stop: () => running.stop('SIGINT'),
    async result() {
      await running.ended();
      try {
        return latenciesIn(readFileSync(output, 'utf8'));
      } catch (error) {
        throw new Error(`fio did not measure: ${running.log()}`, { cause: error });
      }
    },
  };
}

/** Runs a load to its end. */
export async function runLoad(folder: Scratch, load: Load): Promise<Latencies> {
  return startLoad(folder, load).result();
}

/** Writes units of random content, the first at the beginning of the disk, and disconnects. */
export async function writeUnits(
  folder: Scratch,
  units: { uri: string; count: number; unitBytes: number; strideBytes: number; seed: number },
): Promise<void> {
  const { uri, count, unitBytes, strideBytes, seed } = units;
  const skip = strideBytes === unitBytes ? 'write' : `write:${strideBytes - unitBytes}`;
  await runTimed('fio', [
    ...['--name=units', '--thread', '--ioengine=nbd', `--uri=${uri}`, `--rw=${skip}`, `--bs=${unitBytes}`],
    ...[`--size=${count * strideBytes}`, `--io_size=${count * unitBytes}`, `--randseed=${seed}`, '--refill_buffers'],
    ...['--iodepth=4', '--output-format=json', `--output=${folder.file('units.json')}`],
  ]);
}

interface FioOutput {
  readonly jobs: readonly {
    readonly error: number;
    readonly write: { readonly iops: number; readonly clat_ns: { readonly percentile?: Record<string, number> } };
  }[];
}

/** Reads fio's JSON; it may stand behind warnings. */
export function latenciesIn(text: string): Latencies {
  const { jobs } = JSON.parse(text.slice(text.indexOf('{'))) as FioOutput;
  const [job] = jobs;
  const percentile = job?.write.clat_ns.percentile;
  const [p50, p99] = [percentile?.['50.000000'], percentile?.['99.000000']];
  if (job === undefined || p50 === undefined || p99 === undefined) throw new Error('fio wrote nothing');
  if (job.error !== 0) throw new Error(`fio ended with error ${job.error}`);
  return { p50Us: p50 / 1000, p99Us: p99 / 1000, iops: job.write.iops };
}

/** Different blocks written, from fio's log of its writes. */
export function uniqueBytesIn(writeLog: string): number {
  const blocks = new Set<number>();
  for (const [, offset, length] of writeLog.matchAll(/ write (\d+) (\d+)$/gm)) {
    const end = Number(offset) + Number(length);
    for (let at = Number(offset); at < end; at += blockBytes) blocks.add(Math.floor(at / blockBytes));
  }
  return blocks.size * blockBytes;
}
