// Long lives: every workflow that begins with an empty history does so often here, with orders and commands in flight around it,
// because the server calls short histories long. Nothing that was accepted may be lost.
import { randomUUID } from 'node:crypto';
import { WorkflowNotFoundError, type WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { refusalOf } from '../../temporal/client.ts';
import {
  changeQueue,
  changeSettings,
  claimTokens,
  finalMigration,
  pause,
  resume,
  terminate,
} from '../../workflows/messages.ts';
import { shortHistories, startTemporal, type TestTemporal } from '../helpers/temporal-server.ts';
import { makeDoubles, openBench, until, type Doubles, type WorkflowBench } from '../helpers/workflow-doubles.ts';

vi.setConfig({ testTimeout: 120_000 });
/** More than a run needs to come back to where it waits, less than the commands below make. */
const eventsOfLongHistory = 90;

let temporal: TestTemporal;
let bench: WorkflowBench;
beforeAll(async () => {
  temporal = await startTemporal(shortHistories(eventsOfLongHistory));
  bench = await openBench(temporal.address);
}, 60_000);
afterAll(async () => {
  await bench.close();
  await temporal.stop();
});

const by = { requestedBy: 'tok_test' };

/** Members of a queue or a group. */
function membersOf(doubles: Doubles, length: number): readonly string[] {
  const members = Array.from({ length }, () => `vmm_${randomUUID()}`);
  doubles.queue = members;
  return members;
}

/** How many runs a workflow has had. */
async function runsOf({ client, workflowId }: WorkflowHandle): Promise<number> {
  let runs = 0;
  for await (const _run of client.list({ query: `WorkflowId = '${workflowId}'` })) runs += 1;
  return runs;
}

async function untilRenewed(handle: WorkflowHandle, runs = 3): Promise<void> {
  await vi.waitFor(async () => expect(await runsOf(handle)).toBeGreaterThanOrEqual(runs), {
    timeout: 60_000,
    interval: 100,
  });
}

/** Accepted or refused: anything else is thrown. */
async function accepted(command: Promise<unknown>): Promise<boolean> {
  return command.then(
    () => true,
    (error: unknown) => {
      if (refusalOf(error) === null) throw error;
      return false;
    },
  );
}

/** Commands to a workflow that has meanwhile ended. */
function ignoreEnd(error: unknown): void {
  if (!(error instanceof WorkflowNotFoundError)) throw error;
}

/** Pauses and resumes so often; returns what was accepted, in order. */
async function pauseOften(handle: WorkflowHandle, times: number): Promise<boolean[]> {
  const wishes: boolean[] = [];
  for (let time = 0; time < times; time++) {
    if (await accepted(handle.executeUpdate(pause, { args: [by] }))) wishes.push(true);
    if (await accepted(handle.executeUpdate(resume, { args: [by] }))) wishes.push(false);
  }
  return wishes;
}

describe('a history that has become long', () => {
  it('M10 vmMigration begins anew while people command it, before it is ready and after', async () => {
    const doubles = makeDoubles();
    doubles.facts.powersOn = false;
    doubles.ready = false;
    await bench.run(doubles, async ({ start }) => {
      const vm = await start('vmMigration', {});
      await until('replication', () => doubles.phases.at(-1)?.step === 'replicate');
      const wishes = await pauseOften(vm, 12);
      expect(wishes).toHaveLength(24);
      await vm.signal(changeSettings, null);
      await until('the dials', () => doubles.dials.length > 0);
      doubles.ready = true;
      await until('readiness', () => doubles.phases.at(-1)?.step === 'ready');
      wishes.push(...(await pauseOften(vm, 12)));
      expect(doubles.paused).toEqual(wishes);
      await untilRenewed(vm);
      await until('readiness', () => doubles.phases.at(-1)?.step === 'ready');
      await vm.executeUpdate(finalMigration, { args: [by] });
      expect(await vm.result()).toEqual({ status: 'Completed' });
    });
    // What was prepared is not done again by later runs.
    expect(doubles.calls.filter((name) => name === 'createShadowVm')).toHaveLength(1);
    expect(doubles.exists).toEqual(new Set());
  });

  /** Brings it to the edge, commands it over that, and terminates it after so many commands. Returns how often it began anew meanwhile. */
  async function terminatedAfter(commands: number): Promise<number> {
    const doubles = makeDoubles();
    doubles.ready = false;
    const renewals = await bench.run(doubles, async ({ start }) => {
      const vm = await start('vmMigration', {});
      await until('replication', () => doubles.phases.at(-1)?.step === 'replicate');
      while ((await vm.describe()).historyLength < eventsOfLongHistory * 0.8) await pauseOften(vm, 1);
      const runs = await runsOf(vm);
      const carriedOut = doubles.paused.length;
      const before = pauseOften(vm, 6).catch(ignoreEnd);
      await until('the commands', () => doubles.paused.length >= carriedOut + commands);
      const terminated = accepted(vm.executeUpdate(terminate, { args: [by] }));
      const after = pauseOften(vm, 6).catch(ignoreEnd);
      expect(await terminated).toBe(true);
      await Promise.all([before, after]);
      expect(await vm.result()).toEqual({ status: 'Terminated' });
      return (await runsOf(vm)) - runs;
    });
    expect(doubles.exists).toEqual(new Set());
    return renewals;
  }

  it('M10 vmMigration is terminated before, while and after it begins anew, and undoes everything', async () => {
    const renewals: number[] = [];
    for (const commands of [0, 1, 2, 3, 4]) renewals.push(await terminatedAfter(commands));
    expect(Math.max(...renewals)).toBeGreaterThan(0);
  });

  it('M10 vmMigration tries a step after the hand-over again for as long as it takes', async () => {
    const doubles = makeDoubles();
    doubles.facts.powersOn = false;
    doubles.fail('createFinalVm', 'VSPHERE_NO_SPACE');
    await bench.run(doubles, async ({ start }) => {
      const vm = await start('vmMigration', {});
      await until('readiness', () => doubles.phases.at(-1)?.step === 'ready');
      // The final makes it long, so that it begins anew between two tries.
      while ((await vm.describe()).historyLength < eventsOfLongHistory / 2) await pauseOften(vm, 1);
      await until('readiness', () => doubles.phases.at(-1)?.step === 'ready');
      await vm.executeUpdate(finalMigration, { args: [by] });
      await until('the hand-over', () => doubles.calls.includes('handOver'));
      doubles.standing = { step: 'finalVm', ended: null, handedOver: true };
      const before = await runsOf(vm);
      await untilRenewed(vm, before + 1);
      expect(await vm.result()).toEqual({ status: 'Completed' });
    });
    expect(doubles.calls.filter((name) => name === 'handOver')).toHaveLength(1);
    expect(doubles.exists).toEqual(new Set());
  });

  it('M10 groupMigration begins anew and keeps members, pauses and the final that was asked for', async () => {
    const doubles = makeDoubles();
    const members = membersOf(doubles, 4);
    doubles.facts.powersOn = false;
    doubles.concurrency = 4;
    const migrationId = `mig_${randomUUID()}`;
    const result = await bench.run(doubles, async ({ start, client }) => {
      const group = await start('groupMigration', { migrationId }, migrationId);
      const [first = ''] = members;
      await until('replication', () => doubles.phases.some(({ step }) => step === 'ready'));
      await Promise.all([pauseOften(group, 12), pauseOften(client.workflow.getHandle(first), 12)]);
      await untilRenewed(group);
      await vi.waitFor(
        async () => expect(await accepted(group.executeUpdate(finalMigration, { args: [by] }))).toBe(true),
        { timeout: 60_000, interval: 200 },
      );
      return group.result() as Promise<unknown>;
    });
    expect(result).toEqual({ completed: 4, failed: 0, terminated: 0 });
    expect(doubles.calls.filter((name) => name === 'createShadowVm')).toHaveLength(4);
  });

  it('M5 M10 independentMigration and admission begin anew and lose no member, change or token', async () => {
    const doubles = makeDoubles();
    const members = membersOf(doubles, 12);
    doubles.concurrency = 6;
    doubles.capacities = { total: 2 };
    // So that the last of the queue still waits for its turn, however long the changes take.
    const release = doubles.hold('ensureAgentIso');
    const migrationId = `mig_${randomUUID()}`;
    const added = `vmm_${randomUUID()}`;
    const [last = '', removed = ''] = members.toReversed();
    const admission = await bench.run(doubles, async ({ start, client }) => {
      const queue = await start('independentMigration', { migrationId }, migrationId);
      const change = (wanted: object): Promise<boolean> =>
        accepted(queue.executeUpdate(changeQueue, { args: [{ ...by, change: wanted } as never] }));
      await until('the first', () => doubles.phases.length > 0);
      expect(await change({ kind: 'remove', id: removed })).toBe(true);
      expect(await change({ kind: 'add', ids: [added] })).toBe(true);
      const desk = client.workflow.getHandle('admission');
      for (let time = 0; time < 10; time++) {
        // Whoever claims twice neither takes two places nor holds up the others.
        await desk.signal(claimTokens, {
          id: members[time % 2] ?? '',
          needs: { total: 1 },
          priority: 3,
          owner: 'mig_test',
        });
        expect(await change({ kind: 'hold', id: last })).toBe(true);
        expect(await change({ kind: 'let-go', id: last })).toBe(true);
      }
      release();
      expect(await queue.result()).toEqual({ completed: 12, failed: 0, terminated: 1 });
      expect(await runsOf(queue)).toBeGreaterThan(2);
      return runsOf(desk);
    });
    expect(admission).toBeGreaterThan(2);
    const ended = doubles.phases.filter(({ step }) => step === 'ended').map(({ vmMigrationId }) => vmMigrationId);
    expect(ended.toSorted()).toEqual([...members, added].toSorted());
  });
});
