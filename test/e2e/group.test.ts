// A group of real guests: given up as a whole when one member cannot stop, then finished by one action in the order of its
// runbook. What counts is seen from outside: power states at both ends, the guests' own records, the bytes of the disks.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LeakReport, Migration } from '../../contracts/rest.ts';
import { compareDisks } from '../../demo/harness/compare-disks.ts';
import { findVmPlaces, showMigration, startMigration } from '../../demo/harness/operations.ts';
import { writerVm } from '../../demo/harness/scenario.ts';
import { waitFor } from '../../demo/harness/wait.ts';
import { openWorld, type World } from '../helpers/world.ts';

const names = ['db', 'app', 'web'] as const;
let world: World;
let group: Migration;

beforeAll(async () => {
  world = await openWorld({
    wan: { bytesPerSecondMax: 50_000_000, rttMs: 5 },
    vms: names.map((name) => writerVm({ name, capacityMib: 96, seedMib: 16, writerPauseMs: 50 })),
  });
}, 300_000);

afterAll(async () => {
  await world?.close();
});

const now = (): Promise<Migration> => showMigration(world.installation, group.id);
const powerOf = async (site: 'source' | 'destination', name: string): Promise<string> =>
  (await world.lab.control.vm(site, name)).powerState;
const powerAt = (site: 'source' | 'destination'): Promise<string[]> =>
  Promise.all(names.map((name) => powerOf(site, name)));

async function until(what: string, holds: (migration: Migration) => boolean): Promise<Migration> {
  return waitFor(what, async () => ((await now()) && holds(await now()) ? now() : undefined), { timeoutMs: 300_000 });
}
const isReady = (migration: Migration): boolean => migration.waitingFor === 'the final migration to be started';

describe('a group of three guests', () => {
  test('M3 it becomes ready when all its members are', async () => {
    const [db, app, web] = await findVmPlaces(world.installation, world.sites, names);
    if (!db || !app || !web) throw new Error('The scenario has three VMs');
    group = await startMigration(world.installation, world.sites, {
      vmNames: names,
      autoFinal: false,
      more: {
        kind: 'group',
        shutDown: { timeoutSeconds: 10, onTimeout: 'give-up' },
        runbook: {
          shutDown: [{ vms: [app] }, { vms: [web], delaySeconds: 1 }],
          powerOn: [{ vms: [db], waitFor: 'tools', timeoutSeconds: 240 }],
        },
      },
    });
    await until('the group to be ready', isReady);
  });

  test('M3 when one member cannot stop, all of them run on at the source', async () => {
    const before = (await world.lab.control.vm('source', 'web')).acknowledged;
    // A guest that hangs: it hears the request to shut down only when it goes on.
    const hangs = (await world.lab.control.processes()).find(({ role, vm }) => role === 'guest' && vm === 'web');
    if (hangs === undefined) throw new Error('The lab runs no guest web');
    process.kill(hangs.pid, 'SIGSTOP');
    await world.installation.call('POST', `/migrations/${group.id}/actions/final-migration`, {});
    const returned = await until('the group to be given up', ({ reason }) => reason?.code === 'GROUP_RETURNED');
    expect(returned.reason?.message).toContain('web');
    process.kill(hangs.pid, 'SIGCONT');
    await until('the group to be ready again', isReady);
    expect(await powerAt('source')).toEqual(['poweredOn', 'poweredOn', 'poweredOn']);
    await waitFor(
      'the guest to write on',
      async () => ((await world.lab.control.vm('source', 'web')).acknowledged > before + 10 ? true : undefined),
      { timeoutMs: 120_000 },
    );
  });

  test('M4 one action finishes all of them, in the order of the runbook', async () => {
    await world.installation.call('PATCH', `/migrations/${group.id}`, {
      shutDown: { timeoutSeconds: 180, onTimeout: 'power-off' },
    });
    await world.lab.control.holdPowerOn('destination', 'db', true);
    await world.installation.call('POST', `/migrations/${group.id}/actions/final-migration`, {});
    await waitFor(
      'the first VM of the power-on order',
      async () => ((await world.lab.control.powerOnWaits('destination', 'db')) ? true : undefined),
      { timeoutMs: 300_000 },
    );
    expect(await powerAt('source')).toEqual(['poweredOff', 'poweredOff', 'poweredOff']);
    for (const name of names) {
      const [from, to] = [await world.lab.control.vm('source', name), await world.lab.control.vm('destination', name)];
      const difference = await compareDisks(from.disks[0]?.flatPath ?? '', to.disks[0]?.flatPath ?? '');
      expect(difference, name).toBeNull();
    }
    const stops = (await now()).vmMigrations.map(({ downtime }) => downtime?.stopRequestedAt ?? '');
    expect([stops[1], stops[2], stops[0]]).toEqual([...stops].sort());
    const lastOff = Math.max(
      ...(await now()).vmMigrations.map(({ downtime }) => Date.parse(downtime?.poweredOffAt ?? '')),
    );
    const firstHandOver = Math.min(
      ...(await now()).vmMigrations.map(({ downtime }) => Date.parse(downtime?.handedOverAt ?? '')),
    );
    expect(lastOff).toBeLessThan(firstHandOver);
    await world.lab.control.holdPowerOn('destination', 'db', false);
  });

  test('M3 it ends with what the runbook powers on, every record there, and nothing of ours left', async () => {
    const ended = await until('the group to end', ({ endedAt }) => endedAt !== null);
    expect(ended).toMatchObject({ status: 'Completed', counts: { total: 3, completed: 3, failed: 0, terminated: 0 } });
    expect(await powerAt('source')).toEqual(['poweredOff', 'poweredOff', 'poweredOff']);
    expect(await powerAt('destination')).toEqual(['poweredOn', 'poweredOff', 'poweredOff']);
    const acknowledged = (await world.lab.control.vm('source', 'db')).acknowledged;
    const migrated = await waitFor(
      'the guest to check its records',
      async () => {
        const vm = await world.lab.control.vm('destination', 'db');
        return vm.verified === null ? undefined : vm;
      },
      { timeoutMs: 120_000 },
    );
    expect(migrated.verified).toBeGreaterThanOrEqual(acknowledged);
    const leaks = await world.installation.call<LeakReport>('GET', '/leaks');
    expect(leaks.items).toEqual([]);
  });
});
