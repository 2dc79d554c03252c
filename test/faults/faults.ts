// The faults that a run may meet. Each hits a real process or the real link; none asks the product for permission.

import { readFile } from 'node:fs/promises';
import { pause, waitFor } from '../../demo/harness/wait.ts';
import type { World } from '../helpers/world.ts';

/** A fault by name. The product must get over it by itself. */
export interface Fault {
  readonly name: string;
  /** Returns the moment at which it hit (milliseconds since the epoch) when it is done; throws when it hits nothing. */
  strike(world: World, victim: Victim): Promise<number>;
}

/** The VM whose migration is hit, where the fault hits one. */
export interface Victim {
  readonly vmName: string;
  readonly vmMigrationId: string;
}

type Role = 'replicator-source' | 'replicator-host' | 'receiver';

/** Kills a part of the installation; one that is between two lives is waited for. */
function killPart(world: World, part: 'postgres' | 'temporal' | 'api' | 'worker'): Promise<number> {
  return strikeAlive(part, async () => [await world.installation.partPid(part)]);
}

/** Kills every process of the role that serves this VM; a role without VMs as a whole. */
function killRole(world: World, role: Role, victim?: Victim): Promise<number> {
  return strikeAlive(role, async () => {
    const found = (await world.lab.control.processes()).filter((candidate) => candidate.role === role);
    return found.filter(({ vm }) => victim === undefined || serves(vm ?? '', victim)).map(({ pid }) => pid);
  });
}

/** The lab names a source replicator's VM, and a receiver's shadow VM, whose name ends as the migration's id does. */
function serves(vm: string, { vmName, vmMigrationId }: Victim): boolean {
  return vm === vmName || vm.endsWith(`-${vmMigrationId.slice(-12)}`);
}

/** What is to be killed may be between two lives, or not started yet: waits for it, then kills all of it. */
function strikeAlive(what: string, find: () => Promise<readonly number[]>): Promise<number> {
  return waitFor(
    `a process to kill: ${what}`,
    async () => {
      let hitAtMs: number | undefined;
      for (const pid of await find()) {
        if (!(await isAlive(pid))) continue;
        hitAtMs = Date.now();
        process.kill(pid, 'SIGKILL');
      }
      return hitAtMs;
    },
    { timeoutMs: 120_000, intervalMs: 50 },
  );
}

async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${String(pid)}/stat`, 'utf8').catch(() => '');
  return stat !== '' && !/^\d+ \(.*\) [ZX]/s.test(stat);
}

/** Ends of processes by SIGKILL, one for every kind of process that the product and the lab's sites run. */
export const kills = {
  source: {
    name: 'kill the source replicator',
    strike: (world, victim) => killRole(world, 'replicator-source', victim),
  },
  hosts: { name: 'kill the host daemons', strike: (world) => killRole(world, 'replicator-host') },
  receiver: { name: 'kill the receiver', strike: (world, victim) => killRole(world, 'receiver', victim) },
  worker: { name: 'kill the worker', strike: (world) => killPart(world, 'worker') },
  api: { name: 'kill the API', strike: (world) => killPart(world, 'api') },
  temporal: { name: 'kill Temporal', strike: (world) => killPart(world, 'temporal') },
  postgres: { name: 'kill Postgres', strike: (world) => killPart(world, 'postgres') },
} as const satisfies Record<string, Fault>;

export const faults: readonly Fault[] = [
  ...Object.values(kills),
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
