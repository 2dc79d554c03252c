// The janitor against activity doubles: what it adopts, restarts and removes, and that one failure does not stop it.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testTemporalAddress } from '../../tools/test-temporal.ts';
import { makeDoubles, openBench, until, type Doubles, type WorkflowBench } from '../helpers/workflow-doubles.ts';

let bench: WorkflowBench;
beforeAll(async () => {
  bench = await openBench(testTemporalAddress());
});
afterAll(() => bench.close());

const runJanitor = (doubles: Doubles) =>
  bench.run(doubles, async ({ start }) => {
    const handle = await start('janitor', {}, `janitor-${randomUUID()}`);
    return handle.result() as Promise<unknown>;
  });

describe('janitor', () => {
  it('removes what ended migrations left behind, never the disks of a VM that was migrated', async () => {
    const doubles = makeDoubles();
    for (const thing of ['disks', 'folder', 'vm', 'agent', 'policy', 'job']) doubles.exists.add(thing);
    doubles.leftovers = [{ vmMigrationId: 'vmm_done', completed: true }];
    expect(await runJanitor(doubles)).toEqual({ adopted: 0, restarted: 0, cleaned: 1, failed: 0 });
    expect([...doubles.exists]).toEqual(['disks']);
    doubles.leftovers = [{ vmMigrationId: 'vmm_ended', completed: false }];
    expect(await runJanitor(doubles)).toMatchObject({ cleaned: 1 });
    expect([...doubles.exists]).toEqual([]);
  });

  it('goes on when one leftover cannot be removed', async () => {
    const doubles = makeDoubles();
    doubles.fail('destroyShadowVm', 'FOREIGN_DISK_ATTACHED');
    doubles.leftovers = [
      { vmMigrationId: 'vmm_stuck', completed: false },
      { vmMigrationId: 'vmm_next', completed: false },
    ];
    expect(await runJanitor(doubles)).toEqual({ adopted: 0, restarted: 0, cleaned: 1, failed: 1 });
  });
});

describe('vmMigration whose former run was ended from outside', () => {
  it('undoes everything that had been begun', async () => {
    const doubles = makeDoubles();
    for (const thing of ['disks', 'folder', 'vm', 'agent', 'policy', 'job']) doubles.exists.add(thing);
    const result = await bench.run(doubles, async ({ start }) => {
      const handle = await start('vmMigration', { orphan: { reached: 'replicate', handedOver: false } });
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ status: 'Failed' });
    expect([...doubles.exists]).toEqual([]);
    expect(doubles.phases.at(-1)).toMatchObject({ state: 'Failed', failure: { code: 'WORKFLOW_ENDED' } });
  });

  it('finishes what was handed over', async () => {
    const doubles = makeDoubles();
    for (const thing of ['disks', 'vm', 'agent', 'policy', 'job']) doubles.exists.add(thing);
    const result = await bench.run(doubles, async ({ start }) => {
      const handle = await start('vmMigration', { orphan: { reached: 'finalVm', handedOver: true } });
      await until('the receipt', () => doubles.calls.includes('writeReceipt'));
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ status: 'Completed' });
    expect([...doubles.exists]).toEqual([]);
    expect(doubles.calls).not.toContain('deleteTargetDisks');
  });
});
