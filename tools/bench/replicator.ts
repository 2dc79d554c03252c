/**
 * Our side: the release binary through its commands by hand (docs/by-hand.md). Source and receiver are two processes, commanded
 * over the source's control socket as `replicator ctl` does.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, linkSync } from 'node:fs';
import type { JobStatus } from '../../dataplane/client/index.ts';
import { waitFor } from '../../demo/harness/wait.ts';
import type { Bench, Scratch } from './context.ts';
import { start, type Running } from './processes.ts';
import { unixHttp, type UnixHttp } from './unix-http.ts';

/** The status with what later versions add to it. */
export interface SourceStatus extends JobStatus {
  readonly converging?: boolean | null;
}

export interface Receiver {
  readonly running: Running;
  /** Where it listens: the same after a restart. */
  readonly address: string;
  readonly disk: string;
  readonly pair: string;
  /** Kill -9, and started again with the same state and address. */
  restartAfterKill(): Promise<Receiver>;
}

export interface ReceiverOptions {
  readonly capacityBytes: number;
  /** A block device; by default a new sparse file in the folder. */
  readonly disk?: string;
}

export async function startReceiver(bench: Bench, folder: Scratch, options: ReceiverOptions): Promise<Receiver> {
  const disk = options.disk ?? folder.file('destination.raw');
  const pair = folder.file('pair.pem');
  const open = async (listen: string): Promise<Receiver> => {
    const running = start(
      bench.replicator,
      [
        ...['receiver', '--disk', disk, '--capacity', String(options.capacityBytes), '--listen', listen],
        ...['--state', folder.file('receiver-state'), '--pair', pair],
      ],
      folder.file('receiver.log'),
    );
    const { listening } = await running.ready<{ listening: string }>();
    const restartAfterKill = async (): Promise<Receiver> => {
      await running.kill();
      return open(listening);
    };
    return { running, address: listening, disk, pair, restartAfterKill };
  };
  return open('127.0.0.1:0');
}

export interface Source {
  readonly running: Running;
  /** Its NBD socket. */
  readonly socket: string;
  status(): Promise<SourceStatus>;
  dials(change: Partial<JobStatus['dials']>): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  freeze(token: number): Promise<void>;
  handOver(token: number): Promise<void>;
  /** Asks for the status until it is as wanted; says in its error what it was instead. */
  until(
    what: string,
    reached: (status: SourceStatus) => boolean,
    limits?: { readonly timeoutMs?: number; readonly everyMs?: number },
  ): Promise<SourceStatus>;
  stop(): Promise<void>;
}

export interface SourceOptions {
  readonly disk: string;
  readonly receiver: string;
  readonly pair: string;
  readonly args?: readonly string[];
  /** The scrub before ready; on by default, as in the product. */
  readonly scrub?: boolean;
  /** By default the product chooses. */
  readonly codec?: 'none';
}

const untilTimeoutMs = 180_000;
const untilEveryMs = 20;

export async function startSource(bench: Bench, folder: Scratch, options: SourceOptions): Promise<Source> {
  // What it keeps beside the disk belongs to this run: the disk has a name of its own here.
  const disk = folder.file('source.raw');
  if (!existsSync(disk)) linkSync(options.disk, disk);
  const running = start(
    bench.replicator,
    [
      ...['source', '--disk', disk, '--receiver', options.receiver, '--pair', options.pair],
      ...['--state', folder.file('source-state'), '--socket', folder.file('tap.sock')],
      ...(options.scrub === false ? known(bench, '--no-scrub') : []),
      ...(options.codec === undefined ? [] : known(bench, '--codec', options.codec)),
      ...(options.args ?? []),
    ],
    folder.file('source.log'),
  );
  const { control, sockets } = await running.ready<{ control: string; sockets: string[] }>();
  const http = unixHttp(control);
  const first = await onlyJob(http);
  const path = `/v1/jobs/${first.jobId}`;
  const { generation } = first;
  const status = (): Promise<SourceStatus> => http.ask('GET', path);
  let last: SourceStatus = first;
  return {
    running,
    socket: sockets[0] ?? '',
    status,
    async dials(change) {
      const { dials } = await status();
      await http.ask('PUT', `${path}/dials`, { ...dials, ...change, generation });
    },
    async pause() {
      await http.ask('POST', `${path}/pause`, { generation });
    },
    async resume() {
      await http.ask('POST', `${path}/resume`, { generation });
    },
    async freeze(token) {
      await http.ask('POST', `${path}/freeze`, { generation, token });
    },
    async handOver(token) {
      await http.ask('POST', `${path}/hand-over`, { generation, token });
    },
    until: (what, reached, { timeoutMs = untilTimeoutMs, everyMs = untilEveryMs } = {}) =>
      waitFor(
        what,
        async () => {
          last = await status();
          if (last.state === 'failed') throw new Error(`the job failed: ${JSON.stringify(last.reason)}`);
          return reached(last) ? last : undefined;
        },
        { timeoutMs, intervalMs: everyMs },
      ).catch((error: unknown) => {
        throw new Error(`${what}: ${summary(last)}; log: ${running.log()}`, { cause: error });
      }),
    async stop() {
      http.close();
      await running.stop();
    },
  };
}

/** Every allocated byte durable at the destination, and nothing left over. */
export const isCopied = (status: JobStatus): boolean => status.backgroundComplete && remainingBytes(status) === 0;

export const remainingBytes = (status: JobStatus): number => sumOf(status, ({ remainingBytes }) => remainingBytes);
export const sentBytes = (status: JobStatus): number => sumOf(status, ({ sentBytes }) => sentBytes);
export const copiedBytes = (status: JobStatus): number => sumOf(status, ({ copiedBytes }) => copiedBytes);

function sumOf(status: JobStatus, bytes: (disk: JobStatus['disks'][number]) => string): number {
  return status.disks.reduce((sum, disk) => sum + Number(bytes(disk)), 0);
}

export interface Tap {
  readonly running: Running;
  readonly socket: string;
}

export async function startTap(bench: Bench, folder: Scratch, disk: string): Promise<Tap> {
  const socket = folder.file('tap.sock');
  const args = ['tap', '--disk', disk, '--socket', socket, '--track'];
  const running = start(bench.replicator, args, folder.file('tap.log'));
  await running.ready();
  return { running, socket };
}

async function onlyJob(http: UnixHttp): Promise<SourceStatus> {
  const [job] = await http.ask<SourceStatus[]>('GET', '/v1/jobs');
  if (job === undefined) throw new Error('the source has no job');
  return job;
}

let sourceHelp: string | undefined;

/** The option, where this build of the replicator has it: what it lacks it does not do. */
function known(bench: Bench, option: string, ...values: readonly string[]): string[] {
  sourceHelp ??= execFileSync(bench.replicator, ['source', '--help'], { encoding: 'utf8' });
  return sourceHelp.includes(option) ? [option, ...values] : [];
}

function summary(status: JobStatus): string {
  const { state, reason, ready, backgroundComplete } = status;
  return JSON.stringify({ state, reason, ready, backgroundComplete, remainingBytes: remainingBytes(status) });
}
