// B2 in small: a migration of a writing guest is hit by a kill or a cut at a random moment, from its start to its end.
// Afterwards the disks are equal byte by byte and no acknowledged record is missing. LANDFALL_FAULT_RUNS sets how many
// (20 unless said), LANDFALL_FAULT_SEED repeats a run.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { compareDisks } from '../../demo/harness/compare-disks.ts';
import { showVmMigration, startMigration } from '../../demo/harness/operations.ts';
import { writerVm } from '../../demo/harness/scenario.ts';
import { pause, waitFor } from '../../demo/harness/wait.ts';
import type { LeakReport, VmMigration } from '../../contracts/rest.ts';
import { followPatiently, retried, waitPatiently } from '../helpers/patience.ts';
import { openWorld, type World } from '../helpers/world.ts';
import { faults, type Victim } from './faults.ts';
import { seededRandom } from './random.ts';

const RUNS = Number(process.env['LANDFALL_FAULT_RUNS'] ?? '20');
const SEED = Number(process.env['LANDFALL_FAULT_SEED'] ?? String(Date.now() % 1_000_000));
const MIB = 1024 * 1024;
const SEED_MIB = 96;
/** Moments are drawn from the start, or from the final migration on; each well before a run without a fault ends. */
const FROM_START_MAX_MS = 6_500;
const FROM_FINAL_MAX_MS = 1_500;
const RUN_TIMEOUT_MS = 240_000;

/** Faults that also strike at the worst moment, not only at a random one: when the source is stopped for good. */
const worstMoment = ['kill the source replicator', 'kill the receiver', 'kill the worker'];

const vmName = (run: number): string => `busy-${String(run)}`;
let world: World;

beforeAll(async () => {
  world = await openWorld({
    wan: { bytesPerSecondMax: 25_000_000, rttMs: 20 },
    vms: Array.from({ length: RUNS + worstMoment.length }, (_, run) =>
      writerVm({ name: vmName(run), capacityMib: 256, seedMib: SEED_MIB, writerPauseMs: 15, powerOn: false }),
    ),
  });
}, 300_000);

afterAll(async () => {
  await world?.close();
});

for (let run = 0; run < RUNS; run += 1) {
  const random = seededRandom(SEED + run);
  const fault = faults[Math.floor(random() * faults.length)];
  if (fault === undefined) throw new Error('no fault drawn');
  const inFinal = random() < 0.5;
  const momentMs = Math.floor(random() * (inFinal ? FROM_FINAL_MAX_MS : FROM_START_MAX_MS));
  const since = inFinal ? 'into the final migration' : 'from the start';
  test(
    `M10 B2 nothing is lost: ${fault.name} ${String(momentMs)} ms ${since} (seed ${String(SEED + run)})`,
    async () => {
      await migrateUnderFault(run, async (victim) => {
        if (inFinal) await reach(victim.vmMigrationId, isInFinal);
        await pause(momentMs);
        return fault.strike(world, victim);
      });
    },
    RUN_TIMEOUT_MS,
  );
}

for (const [index, name] of worstMoment.entries()) {
  test(
    `M10 B2 nothing is lost: ${name} as the source is frozen`,
    async () => {
      const fault = faults.find((candidate) => candidate.name === name);
      if (fault === undefined) throw new Error(`There is no fault "${name}"`);
      await migrateUnderFault(RUNS + index, async (victim) => {
        await reach(victim.vmMigrationId, (now) => typeof now.downtime?.poweredOffAt === 'string');
        return fault.strike(world, victim);
      });
    },
    RUN_TIMEOUT_MS,
  );
}

/** Looks closely only from the final migration on: the API answers a client so many requests a minute. */
async function reach(id: string, reached: (now: VmMigration) => boolean): Promise<void> {
  for (const [isReached, intervalMs] of [
    [isInFinal, 100],
    [reached, 25],
  ] as const) {
    await waitPatiently(
      'the moment to strike',
      async () => (isReached(await showVmMigration(world.installation, id)) ? true : undefined),
      { timeoutMs: RUN_TIMEOUT_MS, intervalMs },
    );
  }
}

function isInFinal({ status }: VmMigration): boolean {
  return status === 'Final Migration' || status === 'Completed';
}

async function migrateUnderFault(run: number, strike: (victim: Victim) => Promise<number>): Promise<void> {
  const { lab, installation, sites } = world;
  const name = vmName(run);
  await lab.control.power('source', name, 'on');
  await waitFor(
    'the guest to write',
    async () => ((await lab.control.vm('source', name)).acknowledged > 5 ? true : undefined),
    { timeoutMs: 60_000 },
  );
  const migration = await startMigration(installation, sites, { vmNames: [name], autoFinal: false });
  const id = migration.vmMigrations[0]?.id ?? '';
  const striking = strike({ vmName: name, vmMigrationId: id });
  // Awaited at the end: what fails before must not count as nobody's.
  striking.catch(() => undefined);
  await followPatiently(installation, id, { status: 'Ready To Migrate', timeoutMs: RUN_TIMEOUT_MS });
  await retried(() => installation.call('POST', `/vm-migrations/${id}/actions/final-migration`, {}, `final-${id}`));
  await followPatiently(installation, id, { status: 'Completed', timeoutMs: RUN_TIMEOUT_MS });
  const hitAtMs = await striking;
  const source = await lab.control.vm('source', name);
  const destination = await lab.control.vm('destination', name);
  expect(source.powerState).toBe('poweredOff');
  expect(destination.powerState).toBe('poweredOff');
  expect(destination.disks).toHaveLength(source.disks.length);
  for (const [index, disk] of source.disks.entries()) {
    expect(await compareDisks(disk.flatPath, destination.disks[index]?.flatPath ?? '')).toBeNull();
  }
  await lab.control.power('destination', name, 'on');
  const verified = await waitFor(
    'the migrated guest to verify its records',
    async () => (await lab.control.vm('destination', name)).verified ?? undefined,
    { timeoutMs: 60_000 },
  );
  expect(verified).toBeGreaterThanOrEqual(source.acknowledged);
  await lab.control.power('destination', name, 'off');
  const after = await showVmMigration(installation, id);
  // A fault that comes after the end shows nothing, so that is a failure of the run.
  expect(hitAtMs).toBeLessThan(Date.parse(after.endedAt ?? ''));
  expect(Number(after.progress?.resentBytes ?? Number.NaN)).toBeLessThanOrEqual(64 * MIB + 0.01 * SEED_MIB * MIB);
  const leaks = await installation.call<LeakReport>('GET', '/leaks');
  expect(leaks.items).toEqual([]);
}
