// Turns against activity doubles: who waits for what, what a paused site holds, priorities that change in line.
import { randomUUID } from 'node:crypto';
import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { admissionWorkflowId } from '../../temporal/index.ts';
import { testTemporalAddress } from '../../tools/test-temporal.ts';
import { changeCapacities, changePriorities, siteResumed, terminate } from '../../workflows/messages.ts';
import { makeDoubles, openBench, until, type Doubles, type WorkflowBench } from '../helpers/workflow-doubles.ts';

let bench: WorkflowBench;
beforeAll(async () => {
  bench = await openBench(testTemporalAddress());
});
afterAll(() => bench.close());

const by = { requestedBy: 'tok_test' };
const line = (doubles: Doubles) => (doubles.admission.at(-1) ?? []).map(({ id, place }) => [id, place]);
/** In their order; one that is held so long that it is tried again says so twice. */
const begun = (doubles: Doubles) => [
  ...new Set(doubles.phases.filter(({ step }) => step === 'agentIso').map(({ vmMigrationId }) => vmMigrationId)),
];
/** Each VM is a migration of its own. */
function separately(doubles: Doubles): void {
  const { readVmMigration } = doubles.activities;
  doubles.activities.readVmMigration = async (ref) => ({
    ...(await readVmMigration(ref)),
    migrationId: ref.vmMigrationId,
  });
}

describe('turns', () => {
  it('M6 a step waits while a site is paused, goes on when it was resumed, and a word for nothing changes nothing', async () => {
    const doubles = makeDoubles();
    doubles.pausedSite = 'old-dc';
    const held = () => doubles.phases.filter(({ waitingFor }) => waitingFor === 'the site old-dc to be resumed').length;
    const result = await bench.run(doubles, async ({ start }) => {
      const handle = await start('vmMigration', {});
      await until('the hold', () => held() === 1);
      await handle.signal(siteResumed);
      await until('another look', () => held() === 2);
      expect(doubles.calls).toEqual([]);
      doubles.pausedSite = null;
      await handle.signal(siteResumed);
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ status: 'Completed' });
    expect([...doubles.exists]).toEqual([]);
  });

  it('M6 what waits for a paused site can be terminated', async () => {
    const doubles = makeDoubles();
    doubles.pausedSite = 'old-dc';
    const result = await bench.run(doubles, async ({ start }) => {
      const handle = await start('vmMigration', {});
      await until('the hold', () => doubles.phases.at(-1)?.state === 'Waiting for data');
      await handle.executeUpdate(terminate, { args: [by] });
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ status: 'Terminated' });
  });

  it('M6 a new migration of a paused site waits for it in line, and begins when it is resumed', async () => {
    const doubles = makeDoubles();
    doubles.needs = { 'site:site_a': 1, total: 1 };
    doubles.capacities = { 'site:site_a': 0 };
    const result = await bench.run(doubles, async ({ start, client }) => {
      const handle = await start('vmMigration', {});
      await until('the line', () => doubles.admission.at(-1)?.[0]?.resource === 'site:site_a');
      expect(doubles.admission.at(-1)).toEqual([
        { id: handle.workflowId, resource: 'site:site_a', needed: 1, taken: 0, capacity: 0, place: 1 },
      ]);
      expect(begun(doubles)).toEqual([]);
      await client.workflow.getHandle(admissionWorkflowId).signal(changeCapacities, {});
      return handle.result() as Promise<unknown>;
    });
    expect(result).toEqual({ status: 'Completed' });
  });

  it('M5 a priority that changes in line changes the places, and who begins next', async () => {
    const doubles = makeDoubles();
    separately(doubles);
    doubles.capacities = { total: 1 };
    const release = doubles.hold('ensureAgentIso');
    const [first, second, third] = ['a', 'b', 'c'].map((name) => `vmm_${name}_${randomUUID()}`) as [
      string,
      string,
      string,
    ];
    await bench.run(doubles, async ({ start, client }) => {
      const handles: WorkflowHandle[] = [];
      for (const [index, id] of [first, second, third].entries()) {
        handles.push(await start('vmMigration', {}, id));
        if (index === 0) await until('the first', () => begun(doubles).includes(first));
      }
      await until('their places', () => line(doubles).length === 2);
      await client.workflow.getHandle(admissionWorkflowId).signal(changePriorities, { [third]: 1 });
      await until('the new places', () => line(doubles).some(([id, place]) => id === third && place === 1));
      expect(line(doubles)).toContainEqual([second, 2]);
      release();
      await Promise.all(handles.map((handle) => handle.result()));
    });
    expect(begun(doubles)).toEqual([first, third, second]);
  });
});
