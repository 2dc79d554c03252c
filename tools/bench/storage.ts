// Disk space, the page cache and loop devices. It must not remove anything that the benches did not make.
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, rmSync, statfsSync } from 'node:fs';
import { undoLater } from './processes.ts';

/** Left free for everything else on the machine. */
const reserveBytes = 2 ** 30;

/** Throws when the file system of `folder` has no room for `bytes` more. */
export function checkFreeSpace(folder: string, bytes: number, what: string): void {
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  if (free >= bytes + reserveBytes) return;
  const gib = (count: number): string => `${(count / 2 ** 30).toFixed(1)} GiB`;
  throw new Error(
    `${what} needs ${gib(bytes + reserveBytes)} in ${folder}, and ${gib(free)} are free. ` +
      'Make room, name another folder with --folder, or run with --quick.',
  );
}

/** Forgets what memory holds of a file, so that everybody reads it from the disk. What is dirty is written first. */
export function evict(path: string): void {
  execFileSync('dd', [`if=${path}`, 'of=/dev/null', 'iflag=nocache', 'count=0', 'status=none']);
}

/** Reads a file into memory, so that nobody waits for the disk. */
export function warm(path: string): void {
  execFileSync('dd', [`if=${path}`, 'of=/dev/null', 'bs=1M', 'status=none']);
}

/** Waits until the file system has nothing left to write, so that no run pays for the one before. */
export function settle(folder: string): void {
  execFileSync('sync', ['-f', folder]);
}

export function makeSparse(path: string, capacityBytes: number): void {
  const file = openSync(path, 'w', 0o600);
  ftruncateSync(file, capacityBytes);
  closeSync(file);
}

/** A copy with the same holes. */
export function copyImage(from: string, to: string): void {
  execFileSync('cp', ['--sparse=always', '--reflink=auto', from, to]);
}

/** Throws when two disks differ: a copy that is wrong is not a fast copy. */
export function checkEqual(one: string, other: string): void {
  const { status, stdout } = spawnSync('cmp', [one, other], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`the copy is not equal to its source: ${stdout.trim()}`);
}

export interface LoopDevice {
  readonly path: string;
  release(): void;
}

/** A block device on a new sparse file; undefined with the reason where this user may not have one. */
export function loopDevice(file: string, capacityBytes: number): LoopDevice | { readonly refused: string } {
  makeSparse(file, capacityBytes);
  const made = spawnSync('losetup', ['--find', '--show', '--direct-io=on', file], { encoding: 'utf8' });
  if (made.status !== 0) {
    rmSync(file, { force: true });
    return { refused: made.error?.message ?? made.stderr.trim() };
  }
  const path = made.stdout.trim();
  const release = undoLater(() => {
    spawnSync('losetup', ['--detach', path]);
    rmSync(file, { force: true });
  });
  return { path, release };
}

/** Gives back loop devices on files below `folder`, which a killed bench could not. */
export function releaseLoopDevices(folder: string): void {
  const { stdout } = spawnSync('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-FILE'], {
    encoding: 'utf8',
  });
  for (const line of (stdout ?? '').split('\n')) {
    const [device, file] = line.trim().split(/\s+/);
    if (device !== undefined && file?.startsWith(`${folder}/`)) spawnSync('losetup', ['--detach', device]);
  }
}
