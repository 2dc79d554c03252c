// Every row of the step table on real parts: each step twice, its answer lost, failing after its effect and before it,
// terminated in it, its worker killed in it, and every undo the same way. Driven by the table: a new row needs nothing here.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LeakReport, Migration } from '../../contracts/rest.ts';
import { compareDisks } from '../../demo/harness/compare-disks.ts';
import { showMigration, startMigration } from '../../demo/harness/operations.ts';
import { waitFor } from '../../demo/harness/wait.ts';
import { preparingSteps, stepRows, undoneAfter } from '../../workflows/vm-migration/steps.ts';
import { clusterOrders, type ActivityName, type Fault, type Order } from '../helpers/step-faults.ts';
import { StepLab, stepVm } from '../helpers/step-lab.ts';

const unique = <T>(items: readonly T[]): T[] => [...new Set(items)];
const doing = unique(stepRows.flatMap((row) => row.does));
const undoing = unique(stepRows.flatMap((row) => row.undoneBy));
const forward = unique(stepRows.slice(preparingSteps.length).flatMap((row) => row.does));
const beforeHandOver = preparingSteps.flatMap((row) => row.does.map((activity) => ({ ...row, activity })));
/** Only a VM whose final begins by itself is powered on at the destination. */
const powersOn = (activity: ActivityName): boolean => activity === 'powerOnFinalVm';
const lastPrepared: ActivityName = 'freezeReplication';

const clusterSteps: ActivityName[] = [
  'prepareCluster',
  'writeHostOptions',
  'installHostPackage',
  'enrolHost',
  'ensureStoragePolicy',
];

const of = (fault: Fault, activities: readonly ActivityName[]): Order => ({ fault, activities });
const group = ['group-a', 'group-b'];
const single = ['twice', 'lost', 'retried', 'forward', 'forward-fails-before', 'forward-fails-after'];
const vmNames = [
  ...single,
  ...group,
  ...beforeHandOver.flatMap(({ activity }) => [`fail-${activity}`, `terminate-${activity}`]),
  ...doing.map((activity) => `kill-${activity}`),
  ...undoing.map((activity) => `unwind-${activity}`),
];

let lab: StepLab;

beforeAll(async () => {
  lab = await StepLab.open(vmNames.map(stepVm), [of('lost', clusterSteps), of('twice', clusterSteps)], 2);
});

afterAll(async () => {
  await lab?.close();
});

async function expectRecord(subject: string, fault: Fault, activities: readonly ActivityName[]): Promise<void> {
  const record = await lab.faults.record(subject);
  expect(record).toEqual(expect.arrayContaining(activities.map((activity) => `${activity} ${fault}`)));
}

describe('the configuration of a cluster', () => {
  test('each step came twice, and its answer was lost once', async () => {
    await expectRecord(clusterOrders, 'lost', clusterSteps);
    await expectRecord(clusterOrders, 'twice', clusterSteps);
  });

  test('a failure after each step is shown, and configuring again goes on', async () => {
    await lab.faults.order(clusterOrders, [of('fail-after', clusterSteps)]);
    const { source, sourceInventory } = lab.world.sites;
    const request = { siteId: source.id, clusterMoref: sourceInventory.clusters[0]?.moref };
    const configured = async (): Promise<string> => {
      await lab.world.installation.call('POST', '/clusters/configure', request);
      return waitFor(
        'the configuration to end',
        async () => {
          const { items } = await lab.world.installation.call<{ items: { state: string }[] }>('GET', '/clusters');
          const state = items[0]?.state ?? '';
          return state === 'configured' || state === 'failed' ? state : undefined;
        },
        { timeoutMs: 120_000 },
      );
    };
    for (const step of clusterSteps) expect([step, await configured()]).toEqual([step, 'failed']);
    expect(await configured()).toBe('configured');
    await expectRecord(clusterOrders, 'fail-after', clusterSteps);
  });
});

describe.concurrent('a migration', () => {
  test.each([['twice'], ['lost']] as const)('completes with every activity %s', async (fault) => {
    const id = await lab.start(fault, [of(fault, doing)], { autoFinal: true });
    await lab.expectEqualWhenHeld(fault);
    await lab.expectCompleted(fault, await lab.drive(id, (now) => now.endedAt !== null), 'on');
    await expectRecord(fault, fault, doing);
  });

  test('completes when each step before the hand-over fails before and after its effect and is retried', async () => {
    const steps = beforeHandOver.map(({ activity }) => activity);
    const id = await lab.start('retried', [of('fail-before', steps), of('fail-after', steps)]);
    const ended = await lab.drive(id, (now) => now.endedAt !== null, { retry: true });
    await lab.expectCompleted('retried', ended, 'off');
    await expectRecord('retried', 'fail-before', steps);
    await expectRecord('retried', 'fail-after', steps);
  });

  test.each(['fail-before', 'fail-after'] as const)(
    'goes only forward when each step from the hand-over on does %s',
    async (fault) => {
      const name = `forward-${fault.replace('fail', 'fails')}`;
      const id = await lab.start(name, [of(fault, forward)], { autoFinal: true });
      await lab.expectEqualWhenHeld(name);
      await lab.expectCompleted(name, await lab.drive(id, (now) => now.endedAt !== null), 'on');
      await expectRecord(name, fault, forward);
    },
  );

  test('cannot be terminated in any step from the hand-over on', async () => {
    const id = await lab.start('forward', [of('hold', forward)], { autoFinal: true });
    const equal = lab.expectEqualWhenHeld('forward');
    const held = new Set<ActivityName>();
    const askWhoIsHeld = async (): Promise<void> => {
      for (const activity of forward) {
        if (held.has(activity) || !(await lab.faults.happened('forward', activity, 'held'))) continue;
        held.add(activity);
        // The last one has said that all has ended before it is held.
        const expected = activity === forward.at(-1) ? 'ALREADY_ENDED' : 'PHASE_DISALLOWS';
        expect([activity, await lab.refusalOf(id, 'terminate')]).toEqual([activity, expected]);
        await lab.faults.release('forward', activity);
      }
    };
    const ended = await lab.drive(id, async (now) => {
      await askWhoIsHeld();
      return now.endedAt !== null;
    });
    await waitFor(
      'the last',
      async () => askWhoIsHeld().then(() => (held.size === forward.length ? true : undefined)),
      {
        timeoutMs: 20_000,
      },
    );
    await equal;
    await lab.expectCompleted('forward', ended, 'on');
    expect([...held].sort()).toEqual([...forward].sort());
  });

  test.each(beforeHandOver)(
    'fails after $activity, stands still, and is undone twice over',
    async ({ step, activity }) => {
      const name = `fail-${activity}`;
      const id = await lab.start(name, [of('fail-after', [activity]), of('twice', undoing)]);
      const failed = await lab.drive(id, (now) => now.status === 'Failed');
      expect(failed).toMatchObject({ endedAt: null, failure: { code: 'VSPHERE_FAULT', step } });
      await lab.expectGivenBack(name, await lab.terminate(id));
      await expectRecord(
        name,
        'twice',
        undoneAfter(step).flatMap((row) => row.undoneBy),
      );
    },
  );

  test.each(beforeHandOver)('is terminated in $activity, and every undo is repeated', async ({ step, activity }) => {
    const name = `terminate-${activity}`;
    const id = await lab.start(name, [of('hold', [activity]), of('lost', undoing)]);
    await lab.drive(id, () => lab.faults.happened(name, activity, 'held'));
    await lab.expectGivenBack(name, await lab.terminate(id));
    await expectRecord(
      name,
      'lost',
      undoneAfter(step).flatMap((row) => row.undoneBy),
    );
  });
});

describe('a group', () => {
  test('returns its members when a step of the final fails, and completes when none does any more', async () => {
    const steps: ActivityName[] = ['stopSourceVm', 'freezeReplication'];
    const { world } = lab;
    const { control } = world.lab;
    await lab.faults.order('group-a', [of('fail-after', steps)]);
    await lab.faults.order('group-b', [of('fail-after', ['handOver'])]);
    for (const name of group) await control.power('source', name, 'on');
    for (const name of group) await lab.writes(name);
    const started = await startMigration(world.installation, world.sites, {
      vmNames: group,
      autoFinal: false,
      more: { kind: 'group' },
    });
    const until = (what: string, holds: (now: Migration) => boolean): Promise<Migration> => {
      const look = async (): Promise<Migration | undefined> => {
        const now = await showMigration(world.installation, started.id);
        return holds(now) ? now : undefined;
      };
      return waitFor(what, look, { timeoutMs: 200_000 });
    };
    for (let final = 0; final <= steps.length; final += 1) {
      await until('the group to be ready', (now) => now.waitingFor === 'the final migration to be started');
      for (const name of group) await lab.writes(name);
      await world.installation.call('POST', `/migrations/${started.id}/actions/final-migration`, {});
      if (final === steps.length) break;
      await until('the group to be returned', ({ reason }) => reason?.code === 'GROUP_RETURNED');
    }
    const ended = await until('the group to end', (now) => now.endedAt !== null);
    expect(ended.counts).toMatchObject({ completed: 2 });
    for (const name of group) {
      const [from, to] = [await control.vm('source', name), await control.vm('destination', name)];
      expect(await compareDisks(from.disks[0]?.flatPath ?? '', to.disks[0]?.flatPath ?? '')).toBeNull();
    }
    await expectRecord('group-a', 'fail-after', steps);
    await expectRecord('group-b', 'fail-after', ['handOver']);
  });
});

async function kills(subject: string): Promise<string[] | undefined> {
  const record = await lab.faults.record(subject);
  return record.length === 2 ? record : undefined;
}

describe.concurrent('a worker is killed', () => {
  test.each(doing)('in %s, and with its effect before its answer', async (activity) => {
    const name = `kill-${activity}`;
    const orders = [of('kill-during', [activity]), of('kill-after', [activity])];
    const id = await lab.start(name, orders, { autoFinal: powersOn(activity) });
    if (powersOn(activity)) await lab.expectEqualWhenHeld(name);
    const ended = await lab.drive(id, (now) => now.endedAt !== null);
    await lab.expectCompleted(name, ended, powersOn(activity) ? 'on' : 'off');
    // The last step says itself that all has ended, so its worker is killed after that.
    const record = await waitFor('both kills', async () => kills(name), { timeoutMs: 60_000 });
    expect(record).toEqual([`${activity} kill-after`, `${activity} kill-during`]);
  });

  test.each(undoing)('while %s undoes, and with it undone before its answer', async (activity) => {
    const name = `unwind-${activity}`;
    const id = await lab.start(name, [
      of('hold', [lastPrepared]),
      of('kill-during', [activity]),
      of('kill-after', [activity]),
    ]);
    await lab.drive(id, () => lab.faults.happened(name, lastPrepared, 'held'));
    await lab.expectGivenBack(name, await lab.terminate(id));
    await expectRecord(name, 'kill-during', [activity]);
    await expectRecord(name, 'kill-after', [activity]);
  });
});

describe('afterwards', () => {
  test('workers were killed, and others came in their place', () => {
    expect(lab.workers.deaths).toBeGreaterThan(0);
  });

  test('nothing of ours is left at either site', async () => {
    const leaks = await lab.world.installation.call<LeakReport>('GET', '/leaks');
    expect(leaks.items).toEqual([]);
    const roles = (await lab.world.lab.control.processes()).map(({ role }) => role);
    expect(roles.filter((role) => role === 'receiver' || role === 'replicator-source')).toEqual([]);
    const { source, destination } = await lab.world.lab.control.leaks();
    expect(source.attachedFilters).toEqual([]);
    expect(source.datastoreFiles.filter((file) => file.includes('.landfall'))).toEqual([]);
    const migrated = destination.vms.map((vm) => vm.name);
    expect(vmNames).toEqual(expect.arrayContaining(migrated));
    const folders = unique(destination.datastoreFiles.map((file) => file.slice(file.indexOf('] ') + 2).split('/')[0]));
    expect(folders.sort()).toEqual([...migrated, 'landfall'].sort());
  });
});
