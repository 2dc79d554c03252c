// A group of six writing guests, hit by SIGKILL again and again: API, worker, a source replicator, a receiver, Temporal and
// Postgres, each once in every run, in random order at random moments of the copy and of the one final migration. What
// counts is seen from outside: bytes of the disks, the guests' own records, power states, leaks. LANDFALL_GROUP_RUNS sets
// how many runs (10 unless said), LANDFALL_FAULT_SEED repeats one.

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Installation, LeakReport, Migration, VmMigration } from '../../contracts/rest.ts';
import { compareDisks } from '../../demo/harness/compare-disks.ts';
import { findVmPlaces, showMigration, startMigration } from '../../demo/harness/operations.ts';
import { writerVm } from '../../demo/harness/scenario.ts';
import { pause, waitFor } from '../../demo/harness/wait.ts';
import { retried, waitPatiently } from '../helpers/patience.ts';
import { openWorld, type World } from '../helpers/world.ts';
import { kills, type Fault } from './faults.ts';
import { seededRandom } from './random.ts';

const RUNS = Number(process.env['LANDFALL_GROUP_RUNS'] ?? '10');
const SEED = Number(process.env['LANDFALL_FAULT_SEED'] ?? String(Date.now() % 1_000_000));
const MEMBERS = 6;
const RUN_TIMEOUT_MS = 540_000;
const GUEST_TIMEOUT_MS = 240_000;
/** Kills of the copy come at moments up to this after the start, or after the first copied byte. */
const FROM_START_MAX_MS = 15_000;
const FROM_COPY_MAX_MS = 6_000;
/** The API also ends while it is asked for the final: the caller repeats itself. */
const FROM_ASKED_MAX_MS = 200;
/** Kills of the final come at moments up to this after its beginning, after all are off, or after the first hand-over. */
const FROM_FINAL_MAX_MS = 4_000;
const FROM_HAND_OVER_MAX_MS = 400;

/** What is there only once something is copied. */
const dataPath: readonly Fault[] = [kills.source, kills.receiver];

type Moment = 'start' | 'copy' | 'asked' | 'final' | 'all off' | 'first hand-over';

/** One kill: what, of whose migration, and when. */
interface Strike {
  readonly fault: Fault;
  readonly member: number;
  readonly moment: Moment;
  readonly afterMs: number;
}

let world: World;

beforeAll(async () => {
  const vms = Array.from({ length: RUNS }, (_, run) => memberNames(run)).flat();
  world = await openWorld({
    wan: { bytesPerSecondMax: 12_000_000, rttMs: 10 },
    vms: vms.map((name) => writerVm({ name, capacityMib: 96, seedMib: 24, writerPauseMs: 150, powerOn: false })),
  });
}, 300_000);

afterAll(async () => {
  await world?.close();
});

for (let run = 0; run < RUNS; run += 1) {
  const strikes = drawStrikes(seededRandom(SEED + run));
  test(
    `M10 M3 six VMs under six kills: ${strikes.map(inWords).join(', ')} (seed ${String(SEED + run)})`,
    async () => {
      await migrateUnder(strikes, memberNames(run));
    },
    RUN_TIMEOUT_MS,
  );
}

function memberNames(run: number): string[] {
  return Array.from({ length: MEMBERS }, (_, member) => `member-${String(run)}-${String(member)}`);
}

/** Every kind of process once, in random order: half of them before the final migration, half in it. */
function drawStrikes(random: () => number): Strike[] {
  const order = [kills.api, kills.worker, kills.source, kills.receiver, kills.temporal, kills.postgres]
    .map((fault) => ({ fault, rank: random() }))
    .sort((left, right) => left.rank - right.rank);
  const inFinal: Moment[] = ['final', 'all off', 'first hand-over'];
  const latestMs = {
    start: FROM_START_MAX_MS,
    copy: FROM_COPY_MAX_MS,
    asked: FROM_ASKED_MAX_MS,
    final: FROM_FINAL_MAX_MS,
    'all off': FROM_HAND_OVER_MAX_MS,
    'first hand-over': FROM_HAND_OVER_MAX_MS,
  };
  return order.map(({ fault }, index) => {
    const drawn = inFinal[index - inFinal.length] ?? (dataPath.includes(fault) ? 'copy' : 'start');
    const moment = drawn === 'final' && fault === kills.api ? 'asked' : drawn;
    const afterMs = Math.floor(random() * latestMs[moment]);
    return { fault, member: Math.floor(random() * MEMBERS), moment, afterMs };
  });
}

function inWords({ fault, member, moment, afterMs }: Strike): string {
  return `${fault.name} (${String(member)}) ${moment} + ${String(afterMs)} ms`;
}

async function migrateUnder(strikes: readonly Strike[], names: readonly string[]): Promise<void> {
  const { lab, installation } = world;
  const restartsBefore = await restarts();
  await powerOnAll('source', names);
  const group = await startGroup(names);
  const inCopy = strikeAt(['start', 'copy'], strikes, group);
  // Awaited below: what fails before must not count as nobody's.
  inCopy.catch(() => undefined);
  await until(
    group.id,
    'the group to be ready',
    ({ waitingFor }) => waitingFor === 'the final migration to be started',
  );
  const hitsMs = await inCopy;
  const [first = ''] = names;
  await lab.control.holdPowerOn('destination', first, true);
  const inFinal = strikeAt(['asked', 'final', 'all off', 'first hand-over'], strikes, group);
  inFinal.catch(() => undefined);
  const ask = (): Promise<unknown> =>
    retried(() =>
      installation.call('POST', `/migrations/${group.id}/actions/final-migration`, {}, `final-${group.id}`),
    );
  const answer = await ask();
  await waitFor(
    'the first VM of the power-on order',
    async () => ((await lab.control.powerOnWaits('destination', first)) ? true : undefined),
    { timeoutMs: RUN_TIMEOUT_MS },
  );
  for (const name of names) await expectEqualDisks(name);
  await lab.control.holdPowerOn('destination', first, false);
  const ended = await until(group.id, 'the group to end', ({ endedAt }) => endedAt !== null);
  hitsMs.push(...(await inFinal));
  // A kill that comes after the end shows nothing, so that is a failure of the run.
  expect(hitsMs).toHaveLength(strikes.length);
  expect(await ask()).toEqual(answer);
  for (const hitAtMs of hitsMs) expect(hitAtMs).toBeLessThan(Date.parse(ended.endedAt ?? ''));
  expect(ended).toMatchObject({ status: 'Completed', counts: { total: MEMBERS, completed: MEMBERS, failed: 0 } });
  const power = await Promise.all(names.map(async (name) => (await lab.control.vm('destination', name)).powerState));
  expect(power).toEqual(names.map((name) => (name === first ? 'poweredOn' : 'poweredOff')));
  // Each was killed once; that one of them died shall not have ended another.
  expect(await restarts()).toEqual(restartsBefore.map((count) => count + 1));
  await expectAllRecords(names);
  const leaks = await retried(() => installation.call<LeakReport>('GET', '/leaks'));
  expect(leaks.items).toEqual([]);
}

/** How often each part of the installation was started again, as the installation itself says. */
async function restarts(): Promise<number[]> {
  const { parts } = await retried(() => world.installation.call<Installation>('GET', '/installation'));
  return parts.map((part) => part.restarts);
}

/** Stops in two steps, and powers the first member on at the destination. */
async function startGroup(names: readonly string[]): Promise<Migration> {
  const { installation, sites } = world;
  const [first, second] = await findVmPlaces(installation, sites, names);
  if (first === undefined || second === undefined) throw new Error('The scenario has six VMs');
  return startMigration(installation, sites, {
    vmNames: names,
    autoFinal: false,
    more: {
      kind: 'group',
      shutDown: { timeoutSeconds: GUEST_TIMEOUT_MS / 1000, onTimeout: 'power-off' },
      runbook: {
        shutDown: [{ vms: [second], timeoutSeconds: GUEST_TIMEOUT_MS / 1000 }],
        powerOn: [{ vms: [first], waitFor: 'tools', timeoutSeconds: GUEST_TIMEOUT_MS / 1000 }],
      },
    },
  });
}

const reached: Readonly<Record<Exclude<Moment, 'start' | 'asked'>, (members: readonly VmMigration[]) => boolean>> = {
  copy: (members) => members.some(({ progress }) => Number(progress?.copiedBytes ?? 0) > 0),
  final: (members) => members.some(({ downtime }) => typeof downtime?.stopRequestedAt === 'string'),
  'all off': (members) => members.every(({ downtime }) => typeof downtime?.poweredOffAt === 'string'),
  'first hand-over': (members) => members.some(({ downtime }) => typeof downtime?.handedOverAt === 'string'),
};

/** Waits for these moments one after another and strikes so long after each; returns when each kill hit (epoch, ms). */
async function strikeAt(moments: readonly Moment[], strikes: readonly Strike[], group: Migration): Promise<number[]> {
  const striking: Promise<number>[] = [];
  for (const moment of moments) {
    if (moment !== 'start' && moment !== 'asked') {
      await until(group.id, `the moment "${moment}"`, ({ vmMigrations }) => reached[moment](vmMigrations), 100);
    }
    for (const strike of strikes.filter((one) => one.moment === moment)) striking.push(carryOut(strike, group));
  }
  return Promise.all(striking);
}

async function carryOut({ fault, member, afterMs }: Strike, group: Migration): Promise<number> {
  const victim = group.vmMigrations[member];
  if (victim === undefined) throw new Error('The group has fewer members than was asked for');
  await pause(afterMs);
  return fault.strike(world, { vmName: victim.vm.name, vmMigrationId: victim.id });
}

function until(
  id: string,
  what: string,
  holds: (migration: Migration) => boolean,
  intervalMs = 500,
): Promise<Migration> {
  return waitPatiently(
    what,
    async () => {
      const now = await showMigration(world.installation, id);
      return holds(now) ? now : undefined;
    },
    { timeoutMs: RUN_TIMEOUT_MS, intervalMs },
  );
}

async function powerOnAll(site: 'source' | 'destination', names: readonly string[]): Promise<void> {
  const { control } = world.lab;
  await Promise.all(names.map((name) => control.power(site, name, 'on')));
  if (site === 'destination') return;
  for (const name of names) {
    await waitFor(
      'the guest to write',
      async () => ((await control.vm(site, name)).acknowledged > 5 ? true : undefined),
      {
        timeoutMs: GUEST_TIMEOUT_MS,
      },
    );
  }
}

async function expectEqualDisks(name: string): Promise<void> {
  const source = await world.lab.control.vm('source', name);
  const destination = await world.lab.control.vm('destination', name);
  expect([source.powerState, destination.disks.length]).toEqual(['poweredOff', source.disks.length]);
  for (const [index, disk] of source.disks.entries()) {
    expect(await compareDisks(disk.flatPath, destination.disks[index]?.flatPath ?? ''), name).toBeNull();
  }
}

/** Every guest boots at the destination and finds each record whole that it acknowledged at the source. */
async function expectAllRecords(names: readonly string[]): Promise<void> {
  const { control } = world.lab;
  await powerOnAll('destination', names.slice(1));
  for (const name of names) {
    const verified = await waitFor(
      'the migrated guest to verify its records',
      async () => (await control.vm('destination', name)).verified ?? undefined,
      { timeoutMs: GUEST_TIMEOUT_MS },
    );
    expect(verified, name).toBeGreaterThanOrEqual((await control.vm('source', name)).acknowledged);
    await control.power('destination', name, 'off');
  }
}
