/** The peers, from Debian: nbdkit, nbdcopy, qemu-nbd, qemu-img, rsync, each with the options that make it fastest. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { waitFor } from '../../demo/harness/wait.ts';
import type { Scratch } from './context.ts';
import { runTimed, start, type Ended, type Running } from './processes.ts';

/** Enough for every request that nbdcopy keeps on its way. */
const serverThreads = 16;
const serverStartMs = 10_000;
const pskUser = 'bench';

export interface Server {
  readonly running: Running;
  readonly uri: string;
  /** `host:port` of a server on TCP. */
  readonly address: string;
}

/** A key for TLS-PSK, made as `psktool` makes it; returns its file. */
export function makeKey(folder: Scratch): string {
  const file = folder.file('keys.psk');
  writeFileSync(file, `${pskUser}:${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
  return file;
}

/** nbdkit's file plugin on loopback TCP. */
export async function nbdkitOnTcp(
  folder: Scratch,
  file: string,
  options: { readonly key?: string; readonly filters?: readonly string[]; readonly settings?: readonly string[] } = {},
): Promise<Server> {
  const { key, filters = [], settings = [] } = options;
  const port = await freePort();
  const address = `127.0.0.1:${port}`;
  const tls = key === undefined ? [] : ['--tls=require', `--tls-psk=${key}`];
  const running = start(
    'nbdkit',
    [
      ...['-f', '-t', String(serverThreads), '-i', '127.0.0.1', '-p', String(port), ...tls],
      ...[...filters.map((filter) => `--filter=${filter}`), 'file', file, ...settings],
    ],
    folder.file('nbdkit.log'),
  );
  await whenAnswering(running, () => connect(port, '127.0.0.1'));
  return { running, address, uri: uriOf(address, key) };
}

/** The URI of a server behind another address, such as that of a relay. */
export function uriOf(address: string, key?: string): string {
  return key === undefined ? `nbd://${address}/` : `nbds://${pskUser}@${address}/?tls-psk-file=${key}`;
}

export async function nbdkitOnSocket(folder: Scratch, file: string): Promise<Server> {
  const socket = folder.file('nbdkit.sock');
  const running = start('nbdkit', ['-f', '-U', socket, 'file', file], folder.file('nbdkit.log'));
  await whenAnswering(running, () => connect(socket));
  return { running, address: '', uri: `nbd+unix:///?socket=${socket}` };
}

export async function qemuNbdOnSocket(folder: Scratch, file: string): Promise<Server> {
  const socket = folder.file('qemu-nbd.sock');
  const args = ['--persistent', '--shared=16', '--format=raw', '--cache=writeback', '--socket', socket, file];
  const running = start('qemu-nbd', args, folder.file('qemu-nbd.log'));
  await whenAnswering(running, () => connect(socket));
  return { running, address: '', uri: `nbd+unix:///?socket=${socket}` };
}

/** Copies to a new, empty target and waits until it is durable there. */
export const nbdcopyTo = (source: string, uri: string): Promise<Ended> =>
  runTimed('nbdcopy', ['--destination-is-zero', '--flush', source, uri]);

/** Fetches into a local file or device. */
export const nbdcopyFrom = (uri: string, target: string): Promise<Ended> =>
  runTimed('nbdcopy', ['--flush', uri, target]);

/** Writes out of order with 16 requests, into a new and empty target; it flushes at its end by itself. */
export const qemuImgConvert = (source: string, uri: string): Promise<Ended> =>
  runTimed('qemu-img', [
    ...['convert', '-n', '-W', '-m', '16', '--target-is-zero', '-f', 'raw', '-O', 'raw', source, uri],
  ]);

export interface RsyncRun extends Ended {
  /** Content that was sent instead of found at the destination. */
  readonly literalBytes: number;
}

/** Updates the target in place by comparing blocks, as over a network (without it, rsync would not compare at all). */
export async function rsync(source: string, target: string): Promise<RsyncRun> {
  const ended = await runTimed('rsync', ['--inplace', '--no-whole-file', '--fsync', '--stats', source, target]);
  return { ...ended, literalBytes: literalBytesIn(ended.stdout) };
}

export function literalBytesIn(stats: string): number {
  const found = /^Literal data: ([\d,.]+) bytes$/m.exec(stats)?.[1];
  if (found === undefined) throw new Error(`rsync did not say what it sent: ${stats.slice(0, 200)}`);
  return Number(found.replaceAll(/[,.]/g, ''));
}

function freePort(): Promise<number> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => {
        resolve(port);
      });
    });
  });
}

async function whenAnswering(running: Running, dial: () => ReturnType<typeof connect>): Promise<void> {
  await waitFor(
    'a server to listen',
    () =>
      new Promise<true | undefined>((resolve, reject) => {
        if (!running.runs()) {
          reject(new Error(`the server ended at once: ${running.log()}`));
          return;
        }
        const socket = dial();
        socket.once('connect', () => {
          socket.destroy();
          resolve(true);
        });
        socket.once('error', () => {
          resolve(undefined);
        });
      }),
    { timeoutMs: serverStartMs, intervalMs: 20 },
  );
}
