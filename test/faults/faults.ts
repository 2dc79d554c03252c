// The faults that a run may meet. Each hits a real process or the real link; none asks the product for permission.

import { readFile } from 'node:fs/promises';
import { pause, waitFor } from '../../demo/harness/wait.ts';
import type { World } from '../helpers/world.ts';

/** A fault by name. The product must get over it by itself. */
export interface Fault {
  readonly name: string;
  /** Returns the moment at which it hit (milliseconds since the epoch) when it is done. */
  strike(world: World, vmName: string): Promise<number>;
}

async function killPart(world: World, part: string): Promise<number> {
  const pid = await world.installation.partPid(part);
  const hitAtMs = Date.now();
  process.kill(pid, 'SIGKILL');
  return hitAtMs;
}

/** Waits for a process of the role to be there (it may be between two lives, or not started yet), then kills all of them. */
async function killRole(
  world: World,
  role: 'replicator-source' | 'replicator-host' | 'receiver',
  vmName?: string,
): Promise<number> {
  return waitFor(
    `a process to kill: ${role}`,
    async () => {
      let hitAtMs: number | undefined;
      for (const found of await world.lab.control.processes()) {
        if (found.role !== role || (vmName !== undefined && found.vm !== undefined && found.vm !== vmName)) continue;
        if (!(await isAlive(found.pid))) continue;
        hitAtMs = Date.now();
        process.kill(found.pid, 'SIGKILL');
      }
      return hitAtMs;
    },
    { timeoutMs: 30_000, intervalMs: 50 },
  );
}

async function isAlive(pid: number): Promise<boolean> {
  return (await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => '')) !== '';
}

export const faults: readonly Fault[] = [
  { name: 'kill the source replicator', strike: (world, vm) => killRole(world, 'replicator-source', vm) },
  { name: 'kill the host daemons', strike: (world) => killRole(world, 'replicator-host') },
  { name: 'kill the receiver', strike: (world) => killRole(world, 'receiver') },
  { name: 'kill the worker', strike: (world) => killPart(world, 'worker') },
  { name: 'kill the API', strike: (world) => killPart(world, 'api') },
  {
    name: 'cut the link for 4 s',
    strike: async (world) => {
      const hitAtMs = Date.now();
      await world.lab.control.cutWan(4);
      await pause(4_000);
      return hitAtMs;
    },
  },
  {
    name: 'reset every connection',
    strike: async (world) => {
      const hitAtMs = Date.now();
      await world.lab.control.resetWan();
      return hitAtMs;
    },
  },
];
