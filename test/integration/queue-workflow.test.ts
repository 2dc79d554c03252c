// The queue of an independent migration and the configuration of a cluster, against activity doubles.
import { randomUUID } from 'node:crypto';
import { WithStartWorkflowOperation } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { testTemporalAddress } from '../../tools/test-temporal.ts';
import type { QueueChange } from '../../core/index.ts';
import { refusalOf } from '../../temporal/client.ts';
import type { independentMigration } from '../../workflows/index.ts';
import { changeQueue, pause, resume, terminate } from '../../workflows/messages.ts';
import { makeDoubles, openBench, until, type Doubles, type WorkflowBench } from '../helpers/workflow-doubles.ts';

let bench: WorkflowBench;
beforeAll(async () => {
  bench = await openBench(testTemporalAddress());
});
afterAll(() => bench.close());

function queueOf(doubles: Doubles, length: number): readonly string[] {
  const members = Array.from({ length }, () => `vmm_${randomUUID()}`);
  doubles.queue = members;
  return members;
}
async function refused(command: Promise<unknown>): Promise<string | undefined> {
  return command.then(
    () => undefined,
    (error: unknown) => refusalOf(error)?.code,
  );
}
const by = { requestedBy: 'tok_test' };
/** Gives a command as soon as the queue has read its records. */
async function whenOpened(command: () => Promise<unknown>): Promise<void> {
  await vi.waitFor(command, { timeout: 10_000, interval: 50 });
}
const endsOf = (doubles: Doubles) =>
  doubles.phases.filter(({ step }) => step === 'ended').map(({ vmMigrationId, state }) => [vmMigrationId, state]);
const stepsOf = (doubles: Doubles, id: string) =>
  doubles.phases.filter(({ vmMigrationId }) => vmMigrationId === id).map(({ step }) => step);
/** Members whose workflow runs or ran. */
const begunOf = (doubles: Doubles) =>
  new Set(doubles.phases.filter(({ step }) => step !== 'ended').map(({ vmMigrationId }) => vmMigrationId));

describe('independentMigration', () => {
  it('M5 migrates one VM after another, and a failure moves on to the next', async () => {
    const doubles = makeDoubles();
    const members = queueOf(doubles, 3);
    const { createTargetDisks } = doubles.activities;
    doubles.activities.createTargetDisks = async (input) => {
      if (input.vmMigrationId === members[1]) doubles.fail('createTargetDisks', 'DATASTORE_FULL');
      return createTargetDisks(input);
    };
    const migrationId = `mig_${randomUUID()}`;
    const result = await bench.run(doubles, async ({ start, client }) => {
      const handle = await start('independentMigration', { migrationId }, migrationId);
      await until('the ends', () => endsOf(doubles).length === 2);
      await client.workflow.getHandle(members[1] ?? '').executeUpdate(terminate, { args: [by] });
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ completed: 2, failed: 0, terminated: 1 });
    expect(endsOf(doubles)).toEqual([
      [members[0], 'Job complete'],
      [members[2], 'Job complete'],
      [members[1], 'Terminated'],
    ]);
    const began = doubles.phases.findIndex(({ vmMigrationId }) => vmMigrationId === members[1]);
    const ended = doubles.phases.findIndex(
      ({ vmMigrationId, step }) => vmMigrationId === members[0] && step === 'ended',
    );
    expect(began).toBeGreaterThan(ended);
  });

  it('M5 takes up VMs that are added before it has read its records, once', async () => {
    const doubles = makeDoubles();
    const members = queueOf(doubles, 2);
    const [, known = ''] = members;
    const added = `vmm_${randomUUID()}`;
    const migrationId = `mig_${randomUUID()}`;
    const result = await bench.run(doubles, async ({ client, taskQueue }) => {
      const startWorkflowOperation = new WithStartWorkflowOperation<typeof independentMigration>(
        'independentMigration',
        {
          taskQueue,
          workflowId: migrationId,
          workflowIdConflictPolicy: 'FAIL',
          args: [{ migrationId }],
        },
      );
      const change: QueueChange = { kind: 'add', ids: [known, added] };
      await client.workflow.executeUpdateWithStart(changeQueue, { startWorkflowOperation, args: [{ ...by, change }] });
      return client.workflow.getHandle(migrationId).result() as Promise<unknown>;
    });
    expect(result).toEqual({ completed: 3, failed: 0, terminated: 0 });
    expect(endsOf(doubles).map(([id]) => id)).toEqual([...members, added]);
  });

  it('M6 terminate ends the member that runs and drops those that wait', async () => {
    const doubles = makeDoubles();
    const members = queueOf(doubles, 3);
    doubles.ready = false;
    const migrationId = `mig_${randomUUID()}`;
    const result = await bench.run(doubles, async ({ start }) => {
      const handle = await start('independentMigration', { migrationId }, migrationId);
      await until('replication', () => doubles.phases.at(-1)?.step === 'replicate');
      await handle.executeUpdate(terminate, { args: [by] });
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ completed: 0, failed: 0, terminated: 3 });
    expect(
      endsOf(doubles)
        .map(([id]) => id)
        .sort(),
    ).toEqual([...members].sort());
    expect(new Set(endsOf(doubles).map(([, state]) => state))).toEqual(new Set(['Terminated']));
    expect([...doubles.exists]).toEqual([]);
  });

  it('M5 the order is changed, members are held, added and removed, and more run at once, while it runs', async () => {
    const doubles = makeDoubles();
    const [a = '', b = '', c = '', d = ''] = queueOf(doubles, 4);
    const e = `vmm_${randomUUID()}`;
    const release = doubles.hold('ensureAgentIso');
    const migrationId = `mig_${randomUUID()}`;
    const result = await bench.run(doubles, async ({ start }) => {
      const handle = await start('independentMigration', { migrationId }, migrationId);
      await until('the first', () => doubles.phases.some(({ vmMigrationId }) => vmMigrationId === a));
      const change = (wanted: QueueChange) => handle.executeUpdate(changeQueue, { args: [{ ...by, change: wanted }] });
      await change({ kind: 'move', id: d, before: b });
      await change({ kind: 'hold', id: b });
      await change({ kind: 'remove', id: c });
      // Told twice, and with one that runs already: an answer may have been lost.
      for (const ids of [[a, e], [e]]) await change({ kind: 'add', ids });
      expect(await refused(change({ kind: 'hold', id: a }))).toBe('MEMBER_NOT_WAITING');
      release();
      await until('the ends', () => endsOf(doubles).length === 4);
      await change({ kind: 'add', ids: [a, c, e] });
      await change({ kind: 'let-go', id: b });
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ completed: 4, failed: 0, terminated: 1 });
    expect(endsOf(doubles)).toEqual([
      [c, 'Terminated'],
      [a, 'Job complete'],
      [d, 'Job complete'],
      [e, 'Job complete'],
      [b, 'Job complete'],
    ]);
  });

  it('M6 ended from outside and started again, it pauses and terminates members that it does not know to run', async () => {
    const doubles = makeDoubles();
    const [first = '', second = '', last = ''] = queueOf(doubles, 3);
    doubles.concurrency = 2;
    doubles.ready = false;
    const migrationId = `mig_${randomUUID()}`;
    const result = await bench.run(doubles, async ({ start }) => {
      const before = await start('independentMigration', { migrationId }, migrationId);
      await until('both', () => [first, second].every((id) => stepsOf(doubles, id).includes('replicate')));
      await before.terminate('by hand');
      doubles.standsPaused = true;
      const handle = await start('independentMigration', { migrationId }, migrationId);
      await whenOpened(() => handle.executeUpdate(resume, { args: [by] }));
      await handle.executeUpdate(pause, { args: [by] });
      await until('the pauses', () => doubles.paused.filter(Boolean).length === 2);
      await handle.executeUpdate(terminate, { args: [by] });
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ completed: 0, failed: 0, terminated: 3 });
    for (const id of [first, second]) expect(stepsOf(doubles, id).slice(-2)).toEqual(['unwind', 'ended']);
    expect(stepsOf(doubles, last)).toEqual(['ended']);
    expect([...doubles.exists]).toEqual([]);
  });

  it('M6 leaves a member that had begun and lost its workflow to whoever carries it on', async () => {
    const doubles = makeDoubles();
    const [lost = ''] = queueOf(doubles, 1);
    doubles.standsPaused = true;
    doubles.standing = { step: 'replicate', ended: null, handedOver: false };
    const migrationId = `mig_${randomUUID()}`;
    const result = await bench.run(doubles, async ({ start }) => {
      const handle = await start('independentMigration', { migrationId }, migrationId);
      await whenOpened(() => handle.executeUpdate(terminate, { args: [by] }));
      expect(stepsOf(doubles, lost)).toEqual([]);
      await start('vmMigration', { orphan: true, parentWorkflowId: migrationId }, lost);
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ completed: 0, failed: 1, terminated: 0 });
    expect(stepsOf(doubles, lost)).toEqual(['unwind', 'ended']);
  });

  it('M6 what it is told while it starts members holds for all of them', async () => {
    const doubles = makeDoubles();
    const members = queueOf(doubles, 30);
    doubles.concurrency = 30;
    doubles.ready = false;
    const migrationId = `mig_${randomUUID()}`;
    const result = await bench.run(doubles, async ({ start }) => {
      const handle = await start('independentMigration', { migrationId }, migrationId);
      await until('the first', () => begunOf(doubles).size > 0);
      await handle.executeUpdate(pause, { args: [by] });
      await until('the pauses', () => doubles.paused.length === begunOf(doubles).size);
      const begun = begunOf(doubles).size;
      await handle.executeUpdate(resume, { args: [by] });
      await until('the next', () => begunOf(doubles).size > begun);
      const last = members.at(-1) ?? '';
      await handle.executeUpdate(changeQueue, { args: [{ ...by, change: { kind: 'remove', id: last } }] });
      await handle.executeUpdate(terminate, { args: [by] });
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ completed: 0, failed: 0, terminated: members.length });
    expect(begunOf(doubles).size).toBeLessThan(members.length);
    expect(endsOf(doubles)).toHaveLength(members.length);
    expect([...doubles.exists]).toEqual([]);
  });
});

describe('clusterSetup', () => {
  const clusterId = `cl_${randomUUID()}`;

  it('S4 configures every host and creates the policy', async () => {
    const doubles = makeDoubles();
    const result = await bench.run(doubles, async ({ start }) => {
      const handle = await start('clusterSetup', { clusterId }, `cluster-setup/${randomUUID()}`);
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ state: 'configured' });
    expect(doubles.calls).toEqual([
      'prepareCluster',
      'writeHostOptions',
      'installHostPackage',
      'enrolHost',
      'enrolHost',
      'ensureStoragePolicy',
      'finishClusterSetup',
    ]);
  });

  it('S4 says why it failed, and the cluster can be configured again', async () => {
    const doubles = makeDoubles();
    doubles.fail('installHostPackage', 'FILTER_INSTALL_FAILED');
    const workflowId = `cluster-setup/${randomUUID()}`;
    const results = await bench.run(doubles, async ({ start }) => {
      const first = await (await start('clusterSetup', { clusterId }, workflowId)).result();
      const second = await (await start('clusterSetup', { clusterId }, workflowId)).result();
      return [first, second] as unknown[];
    });
    expect(results).toEqual([{ state: 'failed' }, { state: 'configured' }]);
    expect(doubles.dials).toMatchObject([{ code: 'FILTER_INSTALL_FAILED' }, null]);
  });
});
