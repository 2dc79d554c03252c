// The faults that a run may meet. Each hits a real process or the real link; none asks the product for permission.

import { readFile } from 'node:fs/promises';
import { pause } from '../../demo/harness/wait.ts';
import type { World } from '../helpers/world.ts';

/** A fault by name. `strike` returns when it is done; the product must get over it by itself. */
export interface Fault {
  readonly name: string;
  strike(world: World, vmName: string): Promise<void>;
}

async function killPart(world: World, part: string): Promise<void> {
  process.kill(await world.installation.partPid(part), 'SIGKILL');
}

/** A process may just be between two lives; then there is nothing to kill and the moment passes. */
async function killIfThere(world: World, role: 'replicator-source' | 'replicator-host' | 'receiver', vmName?: string) {
  for (const found of await world.lab.control.processes()) {
    if (found.role !== role || (vmName !== undefined && found.vm !== undefined && found.vm !== vmName)) continue;
    if (await isAlive(found.pid)) process.kill(found.pid, 'SIGKILL');
  }
}

async function isAlive(pid: number): Promise<boolean> {
  return (await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => '')) !== '';
}

export const faults: readonly Fault[] = [
  { name: 'kill the source replicator', strike: (world, vm) => killIfThere(world, 'replicator-source', vm) },
  { name: 'kill the host daemons', strike: (world) => killIfThere(world, 'replicator-host') },
  { name: 'kill the receiver', strike: (world) => killIfThere(world, 'receiver') },
  { name: 'kill the worker', strike: (world) => killPart(world, 'worker') },
  { name: 'kill the API', strike: (world) => killPart(world, 'api') },
  {
    name: 'cut the link for 4 s',
    strike: async (world) => {
      await world.lab.control.cutWan(4);
      await pause(4_000);
    },
  },
  {
    name: 'reset every connection',
    strike: async (world) => {
      await world.lab.control.resetWan();
    },
  },
];
