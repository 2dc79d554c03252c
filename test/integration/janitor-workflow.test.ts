// The janitor against activity doubles: what it adopts, restarts and removes, and that one failure does not stop it.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { admissionWorkflowId } from '../../temporal/index.ts';
import { testTemporalAddress } from '../../tools/test-temporal.ts';
import { releaseTokens } from '../../workflows/messages.ts';
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
    doubles.fail('removeShadowVm', 'FOREIGN_DISK_ATTACHED');
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
      doubles.standing = { step: 'replicate', ended: null, handedOver: false };
      const handle = await start('vmMigration', { orphan: true });
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ status: 'Failed' });
    expect([...doubles.exists]).toEqual([]);
    // A final that failed may have left it off, and was retried since.
    expect(doubles.calls).toContain('restoreSourcePower');
    expect(doubles.phases.at(-1)).toMatchObject({ state: 'Failed', failure: { code: 'WORKFLOW_ENDED' } });
  });

  it('finishes what was handed over', async () => {
    const doubles = makeDoubles();
    for (const thing of ['disks', 'vm', 'agent', 'policy', 'job']) doubles.exists.add(thing);
    const result = await bench.run(doubles, async ({ start }) => {
      doubles.standing = { step: 'finalVm', ended: null, handedOver: true };
      const handle = await start('vmMigration', { orphan: true });
      await until('the receipt', () => doubles.calls.includes('writeReceipt'));
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ status: 'Completed' });
    expect([...doubles.exists]).toEqual([]);
    expect(doubles.calls).not.toContain('deleteTargetDisks');
  });

  it('begins at the step in which it stood: what comes before is not repeated on a VM that may run by now', async () => {
    const doubles = makeDoubles();
    doubles.standing = { step: 'detachPolicy', ended: null, handedOver: true };
    expect(await carriedOn(doubles)).toEqual({ status: 'Completed' });
    const effects = doubles.calls.filter((name) => name !== 'waitForFinalGuest');
    expect(effects).toEqual(['releaseSource', 'markSourceVm']);
  });

  it('brings a hand-over to its end that was sealed before its records knew', async () => {
    const doubles = makeDoubles();
    for (const thing of ['disks', 'vm', 'agent', 'policy', 'job']) doubles.exists.add(thing);
    doubles.standing = { step: 'freeze', ended: null, handedOver: false };
    doubles.owner = 'destination';
    // Whoever cannot be asked is asked again: nothing is undone before the answer.
    doubles.fail('settleOwner', 'AGENT_NOT_ENROLLED');
    expect(await carriedOn(doubles)).toEqual({ status: 'Completed' });
    expect(doubles.calls).toContain('createFinalVm');
    expect(doubles.calls).not.toContain('deleteTargetDisks');
  });

  it.each([
    ['was frozen', 'freeze'],
    ['was being undone', 'unwind'],
  ] as const)('undoes what %s once the source says that it owns its disks', async (_what, step) => {
    const doubles = makeDoubles();
    for (const thing of ['disks', 'folder', 'vm', 'agent', 'policy', 'job', 'freeze']) doubles.exists.add(thing);
    doubles.standing = { step, ended: null, handedOver: false };
    expect(await carriedOn(doubles)).toEqual({ status: 'Failed' });
    expect(doubles.calls.indexOf('settleOwner')).toBe(0);
    expect([...doubles.exists]).toEqual([]);
  });

  it('touches nothing of one that came to its end while it was looked at', async () => {
    const doubles = makeDoubles();
    doubles.exists.add('disks');
    doubles.standing = { step: 'ended', ended: 'Completed', handedOver: true };
    expect(await carriedOn(doubles)).toEqual({ status: 'Completed' });
    expect(doubles.calls).toEqual([]);
    expect(doubles.phases).toEqual([]);
  });

  it('does nothing for one whose records were ended before it began', async () => {
    const doubles = makeDoubles();
    doubles.standing = { step: 'ended', ended: 'Terminated', handedOver: false };
    const result = await bench.run(doubles, async ({ start }) => (await start('vmMigration', {})).result() as unknown);
    expect(result).toEqual({ status: 'Terminated' });
    expect(doubles.calls).toEqual([]);
    expect(doubles.phases).toEqual([]);
  });
});

const carriedOn = (doubles: Doubles): Promise<unknown> =>
  bench.run(doubles, async ({ start }) => (await start('vmMigration', { orphan: true })).result() as Promise<unknown>);

describe('admission whose former run was ended from outside', () => {
  it('does not give the tokens again that are held, and hears what is given back', async () => {
    const doubles = makeDoubles();
    doubles.capacities = { total: 1 };
    const holder = `vmm_${randomUUID()}`;
    doubles.leases = [{ id: holder, needs: { total: 1 }, priority: 3, owner: 'mig_other' }];
    const result = await bench.run(doubles, async ({ start, client }) => {
      const next = await start('vmMigration', {});
      await until('the claim to wait', () => doubles.admission.at(-1)?.[0]?.id === next.workflowId);
      expect(doubles.calls).toEqual([]);
      await client.workflow.getHandle(admissionWorkflowId).signal(releaseTokens, { id: holder });
      return next.result() as Promise<unknown>;
    });
    expect(result).toEqual({ status: 'Completed' });
  });
});
