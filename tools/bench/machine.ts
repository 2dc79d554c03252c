/** What the figures were measured on. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly system: string;
  /** Where the disks of the benches lie: file system and device. */
  readonly storage: string;
  /** Programs measured against, with their versions. */
  readonly peers: readonly string[];
}

/** `folder` is where the disks of the benches lie. */
export function describeMachine(folder: string): Machine {
  const found = /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'));
  const all = cpus();
  return {
    processor: all[0]?.model ?? 'unknown',
    cores: all.length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    system: found?.[1] ?? 'unknown',
    storage: firstLine('findmnt', ['-n', '-o', 'FSTYPE,SOURCE', '--target', folder]).replace(/\s+/, ' on '),
    peers: [
      firstLine('nbdcopy', ['--version']),
      firstLine('nbdkit', ['--version']),
      firstLine('qemu-nbd', ['--version']),
      firstLine('fio', ['--version']),
      firstLine('rsync', ['--version']).replace(/ +/g, ' '),
    ],
  };
}

function firstLine(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8' }).split('\n')[0] ?? '';
}
