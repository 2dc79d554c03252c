// One migration of a writing guest through what sites go through in a night: the link is away for more than a minute, hosts
// fall and come back, somebody switches the VM off and on. It goes on where it was each time, and ends with equal disks.

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LeakReport, VmMigration } from '../../contracts/rest.ts';
import { compareDisks } from '../../demo/harness/compare-disks.ts';
import { showVmMigration, startMigration } from '../../demo/harness/operations.ts';
import { writerVm } from '../../demo/harness/scenario.ts';
import { pause, waitFor } from '../../demo/harness/wait.ts';
import { followPatiently, waitPatiently } from '../helpers/patience.ts';
import { openWorld, type World } from '../helpers/world.ts';

const MIB = 1024 * 1024;
const NAME = 'busy';
/** Slow enough that the copy is under way through all of it, and a copy from zero could not hide. */
const SLOW_BYTES_PER_SECOND = '600000';
const LINK_AWAY_SECONDS = 70;
const TIMEOUT_MS = 240_000;
/** What is not durable yet when a side falls may be sent again. */
const LOST_AT_MOST_BYTES = 4 * MIB;
let world: World;
let id: string;

beforeAll(async () => {
  world = await openWorld({
    wan: { bytesPerSecondMax: 25_000_000, rttMs: 20 },
    vms: [writerVm({ name: NAME, capacityMib: 256, seedMib: 160, writerPauseMs: 100 })],
  });
  const migration = await startMigration(world.installation, world.sites, {
    vmNames: [NAME],
    autoFinal: false,
    settings: { bytesPerSecondMax: SLOW_BYTES_PER_SECOND },
  });
  id = migration.vmMigrations[0]?.id ?? '';
}, 300_000);

afterAll(async () => {
  await world?.close();
});

const now = (): Promise<VmMigration> => showVmMigration(world.installation, id);
const copiedBytes = ({ progress }: VmMigration): number => Number(progress?.copiedBytes ?? 0);

/** Waits until so much is copied; meanwhile never less than `floorBytes`. */
function untilCopied(bytes: number, floorBytes: number): Promise<number> {
  return waitPatiently(
    'the copy to go on',
    async () => {
      const copied = copiedBytes(await now());
      expect(copied).toBeGreaterThanOrEqual(floorBytes);
      return copied >= bytes ? copied : undefined;
    },
    { timeoutMs: TIMEOUT_MS, intervalMs: 500 },
  );
}

/** The copy goes on where it was: never from zero, and further than before. */
async function expectItGoesOn(disturb: () => Promise<void>): Promise<void> {
  const before = await untilCopied(8 * MIB, 0);
  await disturb();
  await untilCopied(before + LOST_AT_MOST_BYTES, before - LOST_AT_MOST_BYTES);
}

/** Ends processes of the lab together, as the fall of a machine does. */
async function fall(...roles: readonly ('guest' | 'replicator-source' | 'replicator-host' | 'receiver')[]) {
  const found = (await world.lab.control.processes()).filter(({ role }) => roles.includes(role));
  for (const { pid } of found) process.kill(pid, 'SIGKILL');
  expect(new Set(found.map(({ role }) => role))).toEqual(new Set(roles));
}

async function untilPower(site: 'source' | 'destination', name: string, state: string): Promise<void> {
  await waitFor(
    `${name} to be ${state}`,
    async () => ((await world.lab.control.vm(site, name)).powerState === state ? true : undefined),
    { timeoutMs: TIMEOUT_MS },
  );
}

test('M10 loss of the network for more than a minute', async () => {
  await expectItGoesOn(async () => {
    const restored = pause(LINK_AWAY_SECONDS * 1000);
    await world.lab.control.cutWan(LINK_AWAY_SECONDS);
    const { reason } = await waitFor(
      'the status to say so',
      async () => ((await now()).status === 'Not Running' ? now() : undefined),
      { timeoutMs: LINK_AWAY_SECONDS * 1000 },
    );
    expect(reason?.message).toBeTruthy();
    await restored;
  });
});

test('M10 V8 the source host falls with everything on it, and the VM is started again', async () => {
  await expectItGoesOn(async () => {
    await fall('guest', 'replicator-source', 'replicator-host');
    await untilPower('source', NAME, 'poweredOff');
    await world.lab.control.power('source', NAME, 'on');
  });
});

test('M10 the destination host falls, and the shadow VM is started again', async () => {
  const shadow = `landfall-shadow-${id.slice(-12)}`;
  await expectItGoesOn(async () => {
    await world.lab.control.power('destination', shadow, 'off');
    await untilPower('destination', shadow, 'poweredOff');
    await world.lab.control.power('destination', shadow, 'on');
  });
});

test('M10 V8 the source VM is powered off and on', async () => {
  await expectItGoesOn(async () => {
    await world.lab.control.power('source', NAME, 'off');
    await untilPower('source', NAME, 'poweredOff');
    await world.lab.control.power('source', NAME, 'on');
  });
});

test('M10 after all of it the disks are equal, every record is there, and nothing is left', async () => {
  const { installation, lab } = world;
  await installation.call('PATCH', `/vm-migrations/${id}/settings`, { bytesPerSecondMax: null });
  await followPatiently(installation, id, { status: 'Ready To Migrate', timeoutMs: TIMEOUT_MS });
  await installation.call('POST', `/vm-migrations/${id}/actions/final-migration`, {});
  await followPatiently(installation, id, { status: 'Completed', timeoutMs: TIMEOUT_MS });
  const [source, destination] = [await lab.control.vm('source', NAME), await lab.control.vm('destination', NAME)];
  expect([source.powerState, destination.powerState]).toEqual(['poweredOff', 'poweredOff']);
  expect(await compareDisks(source.disks[0]?.flatPath ?? '', destination.disks[0]?.flatPath ?? '')).toBeNull();
  await lab.control.power('destination', NAME, 'on');
  const verified = await waitFor(
    'the migrated guest to verify its records',
    async () => (await lab.control.vm('destination', NAME)).verified ?? undefined,
    { timeoutMs: TIMEOUT_MS },
  );
  expect(verified).toBeGreaterThanOrEqual(source.acknowledged);
  expect((await installation.call<LeakReport>('GET', '/leaks')).items).toEqual([]);
});
