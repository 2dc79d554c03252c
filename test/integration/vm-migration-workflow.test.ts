// The workflow of one VM's migration against activity doubles: order, commands, failures at every step.
import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AllActivities } from '../../contracts/activities.ts';
import { stateOfStep } from '../../core/index.ts';
import type { VmMigrationResult } from '../../contracts/workflows.ts';
import { refusalOf } from '../../temporal/client.ts';
import { testTemporalAddress } from '../../tools/test-temporal.ts';
import {
  changeSettings,
  finalMigration,
  pause,
  resume,
  retry,
  shutDownGuest,
  terminate,
} from '../../workflows/messages.ts';
import { makeDoubles, openBench, until, type Doubles, type WorkflowBench } from '../helpers/workflow-doubles.ts';

let bench: WorkflowBench;
beforeAll(async () => {
  bench = await openBench(testTemporalAddress());
});
afterAll(() => bench.close());

const by = { requestedBy: 'tok_test' };
const preparing = [
  'ensureAgentIso',
  'createTargetDisks',
  'uploadConfigurationIso',
  'createShadowVm',
  'powerOnShadowVm',
  'waitForShadowVmAddress',
  'enrolShadowVm',
  'attachStoragePolicy',
] as const;
const finishing = [
  'handOver',
  'detachTargetDisks',
  'createFinalVm',
  'copyNvram',
  'powerOnFinalVm',
  'writeReceipt',
  'removeShadowVm',
  'releaseSource',
  'markSourceVm',
] as const;

function migrate(doubles: Doubles, work: (handle: WorkflowHandle) => Promise<void>): Promise<VmMigrationResult> {
  return bench.run(doubles, async ({ start }) => {
    const handle = await start('vmMigration', {});
    await work(handle);
    return (await handle.result()) as VmMigrationResult;
  });
}
const undisturbed = async (): Promise<void> => undefined;

/** The code with which an update is refused. */
async function refused(command: Promise<unknown>): Promise<string | undefined> {
  return command.then(
    () => undefined,
    (error: unknown) => refusalOf(error)?.code,
  );
}
const lastPhase = (doubles: Doubles) => doubles.phases.at(-1);
const inStep = (doubles: Doubles, step: string) => () => lastPhase(doubles)?.step === step;

describe('vmMigration', () => {
  it('M2 M5 auto final goes from queue to receipt, powers the destination on and leaves nothing', async () => {
    const doubles = makeDoubles();
    expect(await migrate(doubles, undisturbed)).toEqual({ status: 'Completed' });
    const effects = doubles.calls.filter((name) => name !== 'waitForFinalGuest');
    const expected: (keyof AllActivities)[] = [
      ...preparing,
      'superviseReplication',
      'superviseReplication',
      'stopSourceVm',
      'freezeReplication',
      ...finishing,
    ];
    expect(effects).toEqual(expected);
    expect([...doubles.exists]).toEqual([]);
    expect(lastPhase(doubles)).toMatchObject({ step: 'ended', state: 'Job complete' });
    // M2: the states in the words and in the order of the product.
    const states = doubles.phases.map(({ step, state }) => state ?? stateOfStep(step));
    expect(states.filter((state, at) => state !== states[at - 1])).toEqual([
      'Creating shadow VM',
      'Powering on shadow VM',
      'Waiting for shadow VM IP',
      'Apply Storage Policy',
      'Replicating disks',
      'Ready for final migration',
      'Performing final migration',
      'Destroying Shadow VM',
      'Job complete',
    ]);
  });

  it('M2 what it made is removed while the guest starts; it ends when the guest has answered', async () => {
    const doubles = makeDoubles();
    const release = doubles.hold('waitForFinalGuest');
    const result = await migrate(doubles, async () => {
      await until('the removal', () => doubles.calls.includes('markSourceVm'));
      await until('the wait', () => /guest/.test(lastPhase(doubles)?.waitingFor ?? ''));
      expect([...doubles.exists]).toEqual([]);
      release();
    });
    expect(result).toEqual({ status: 'Completed' });
    expect(lastPhase(doubles)).toMatchObject({ step: 'ended', state: 'Job complete' });
  });

  it('M6 a retry claims its tokens anew, also when the first were there before anybody waited for them', async () => {
    const doubles = makeDoubles();
    const { claimAdmission } = doubles.activities;
    doubles.activities.claimAdmission = async (ref) => {
      const claimed = await claimAdmission(ref);
      // So long that the engine ends the turn in between, and the tokens are there before the claim has answered.
      await new Promise((resolve) => setTimeout(resolve, 10_000));
      return claimed;
    };
    doubles.fail('createTargetDisks', 'DATASTORE_FULL');
    const result = await migrate(doubles, async (handle) => {
      await until('the failure', () => lastPhase(doubles)?.state === 'Failed');
      await handle.executeUpdate(retry, { args: [by] });
    });
    expect(result).toEqual({ status: 'Completed' });
  });

  it('M5 manual final waits for the command and leaves the destination off', async () => {
    const doubles = makeDoubles();
    doubles.facts.powersOn = false;
    doubles.ready = false;
    const result = await migrate(doubles, async (handle) => {
      await until('replication', inStep(doubles, 'replicate'));
      expect(await refused(handle.executeUpdate(finalMigration, { args: [by] }))).toBe('FINAL_NOT_READY');
      doubles.ready = true;
      await until('readiness', inStep(doubles, 'ready'));
      await handle.executeUpdate(shutDownGuest, { args: [by] });
      await handle.executeUpdate(finalMigration, { args: [by] });
      expect(await refused(handle.executeUpdate(finalMigration, { args: [by] }))).toMatch(/FINAL_UNDER_WAY|ENDED/);
    });
    expect(result.status).toBe('Completed');
    expect(doubles.calls).toContain('requestGuestShutDown');
    expect(doubles.calls).not.toContain('powerOnFinalVm');
  });

  it('goes back to replicating when readiness is lost, and on when it is there again', async () => {
    const doubles = makeDoubles();
    doubles.facts.powersOn = false;
    const result = await migrate(doubles, async (handle) => {
      await until('readiness', inStep(doubles, 'ready'));
      doubles.ready = false;
      await until('replication', inStep(doubles, 'replicate'));
      doubles.ready = true;
      await until('readiness', inStep(doubles, 'ready'));
      await handle.executeUpdate(finalMigration, { args: [by] });
    });
    expect(result.status).toBe('Completed');
  });

  it.each(preparing)('M6 stands still when %s fails for good, and undoes everything on terminate', async (name) => {
    const doubles = makeDoubles();
    doubles.fail(name, 'VSPHERE_NO_SPACE', { afterEffect: true });
    const result = await migrate(doubles, async (handle) => {
      await until('the failure', () => lastPhase(doubles)?.state === 'Failed');
      expect(lastPhase(doubles)).toMatchObject({ failure: { code: 'VSPHERE_NO_SPACE' } });
      await handle.executeUpdate(terminate, { args: [by] });
    });
    expect(result).toEqual({ status: 'Terminated' });
    expect([...doubles.exists]).toEqual([]);
  });

  it('M6 goes on from whichever step failed when it is retried, and does nothing before it again', async () => {
    const doubles = makeDoubles();
    const failing = [...preparing, 'superviseReplication', 'stopSourceVm', 'freezeReplication'] as const;
    for (const name of failing) doubles.fail(name, 'VSPHERE_NO_SPACE');
    const result = await migrate(doubles, async (handle) => {
      expect(await refused(handle.executeUpdate(retry, { args: [by] }))).toBe('PHASE_DISALLOWS');
      for (const name of failing) {
        await until(`the failure of ${name}`, () => isAt(doubles, name) && lastPhase(doubles)?.state === 'Failed');
        await handle.executeUpdate(retry, { args: [by] });
      }
    });
    expect(result.status).toBe('Completed');
    for (const step of preparing) expect(doubles.calls.filter((call) => call === step)).toHaveLength(1);
    expect([...doubles.exists]).toEqual([]);
  }, 120_000);

  it('M6 a retry at another place undoes what was built at the old one first, then begins there', async () => {
    const doubles = makeDoubles();
    doubles.fail('enrolShadowVm', 'AGENT_FOREIGN');
    const destination = { siteId: 'site_b', clusterMoref: 'domain-c1', datastoreMoref: 'datastore-2', networks: [] };
    const result = await migrate(doubles, async (handle) => {
      await until('the failure', () => lastPhase(doubles)?.state === 'Failed');
      doubles.fail('destroyShadowVm', 'FOREIGN_DISK_ATTACHED');
      await handle.executeUpdate(retry, { args: [{ ...by, change: { destination } }] });
      // What cannot be undone fails it once more, and the old place is still the plan.
      await until('the second failure', () => lastPhase(doubles)?.failure?.code === 'FOREIGN_DISK_ATTACHED');
      expect(doubles.changes).toEqual([]);
      await handle.executeUpdate(retry, { args: [{ ...by, change: { destination } }] });
    });
    expect(result).toEqual({ status: 'Completed' });
    expect(doubles.changes).toEqual([expect.objectContaining({ destination, rebuilds: true })]);
    const moved = doubles.calls.indexOf('noteChangedPlan');
    const [before, after] = [doubles.calls.slice(0, moved), doubles.calls.slice(moved + 1)];
    for (const undo of ['forgetShadowVm', 'destroyShadowVm', 'deleteConfigurationIso', 'deleteTargetDisks'] as const) {
      expect(before).toContain(undo);
    }
    expect(after.slice(0, preparing.length)).toEqual(preparing);
    expect([...doubles.exists]).toEqual([]);
  });

  it('M6 data at the old place are never given up: only networks and settings change then', async () => {
    const doubles = makeDoubles();
    doubles.fail('freezeReplication', 'ROOTS_DIFFER', { afterEffect: true });
    const destination = { siteId: 'site_b', clusterMoref: 'domain-c1', datastoreMoref: 'datastore-1', networks: [] };
    const result = await migrate(doubles, async (handle) => {
      await until('the failure', () => lastPhase(doubles)?.state === 'Failed');
      for (const place of [{ datastoreMoref: 'datastore-2' }, { clusterMoref: 'domain-c2' }]) {
        const change = { destination: { ...destination, ...place } };
        expect(await refused(handle.executeUpdate(retry, { args: [{ ...by, change }] }))).toBe('PHASE_DISALLOWS');
      }
      const networks = [{ source: 'VM Network', destination: 'Production' }];
      await handle.executeUpdate(retry, { args: [{ ...by, change: { destination: { ...destination, networks } } }] });
    });
    expect(result).toEqual({ status: 'Completed' });
    expect(doubles.changes).toEqual([expect.objectContaining({ rebuilds: false })]);
    expect(doubles.calls).not.toContain('deleteTargetDisks');
  });

  it('M6 pause holds the next step and replication, resume goes on', async () => {
    const doubles = makeDoubles();
    const release = doubles.hold('createTargetDisks');
    const result = await migrate(doubles, async (handle) => {
      await until('the step', inStep(doubles, 'targetDisks'));
      await handle.executeUpdate(pause, { args: [by] });
      expect(await refused(handle.executeUpdate(pause, { args: [by] }))).toBe('PHASE_DISALLOWS');
      release();
      await until('the pause', () => lastPhase(doubles)?.reason?.code === 'PAUSED');
      expect(doubles.calls).not.toContain('uploadConfigurationIso');
      await handle.executeUpdate(resume, { args: [by] });
      expect(await refused(handle.executeUpdate(resume, { args: [by] }))).toMatch(/PHASE_DISALLOWS|ENDED/);
    });
    expect(result.status).toBe('Completed');
    expect(doubles.paused).toEqual([true, false]);
  });

  it('B6 waits for its turn when there are no tokens, and says so', async () => {
    const doubles = makeDoubles();
    doubles.capacities = { total: 1 };
    await bench.run(doubles, async ({ start }) => {
      const release = doubles.hold('ensureAgentIso');
      const first = await start('vmMigration', {});
      await until('the first', inStep(doubles, 'agentIso'));
      const second = await start('vmMigration', {});
      await until('the line', () => doubles.admission.flat().some(({ id }) => id === second.workflowId));
      expect(doubles.admission.at(-1)).toEqual([
        { id: second.workflowId, resource: 'total', needed: 1, taken: 1, capacity: 1, place: 1 },
      ]);
      release();
      await Promise.all([first.result(), second.result()]);
    });
    expect([...doubles.exists]).toEqual([]);
  });

  it('completes when every step has to be done twice', async () => {
    const doubles = makeDoubles();
    const all = [...preparing, 'stopSourceVm', 'freezeReplication', ...finishing] as const;
    for (const name of all) doubles.fail(name, 'VSPHERE_UNREACHABLE', { afterEffect: true });
    expect(await migrate(doubles, undisturbed)).toEqual({ status: 'Completed' });
    for (const name of all) expect(doubles.calls.filter((call) => call === name)).toHaveLength(2);
    expect([...doubles.exists]).toEqual([]);
  });

  it.each([...preparing, 'superviseReplication', 'stopSourceVm', 'freezeReplication'] as const)(
    'M6 terminate during %s unwinds and ends as Terminated',
    async (name) => {
      const doubles = makeDoubles();
      const release = doubles.hold(name);
      const result = await migrate(doubles, async (handle) => {
        await until('the step', () => isAt(doubles, name));
        await handle.executeUpdate(terminate, { args: [by] });
        expect(await refused(handle.executeUpdate(terminate, { args: [by] }))).toMatch(/PHASE_DISALLOWS|ENDED/);
        release();
      });
      expect(result).toEqual({ status: 'Terminated' });
      expect([...doubles.exists]).toEqual([]);
      expect(lastPhase(doubles)).toMatchObject({ state: 'Terminated', reason: { code: 'TERMINATED' } });
      expect(doubles.calls).not.toContain('handOver');
    },
  );

  it('refuses to terminate after the hand-over began, and finishes', async () => {
    const doubles = makeDoubles();
    const release = doubles.hold('detachTargetDisks');
    const result = await migrate(doubles, async (handle) => {
      await until('the detaching', inStep(doubles, 'detachDisks'));
      expect(await refused(handle.executeUpdate(terminate, { args: [by] }))).toBe('PHASE_DISALLOWS');
      release();
    });
    expect(result.status).toBe('Completed');
  });

  it('only goes forward after the hand-over: a permanent failure is shown and tried again', async () => {
    const doubles = makeDoubles();
    doubles.fail('createFinalVm', 'VSPHERE_INVALID_ARGUMENT');
    expect(await migrate(doubles, undisturbed)).toEqual({ status: 'Completed' });
    expect(doubles.phases).toContainEqual(
      expect.objectContaining({
        step: 'finalVm',
        reason: expect.objectContaining({ code: 'VSPHERE_INVALID_ARGUMENT' }) as unknown,
      }),
    );
  }, 30_000);

  it('B1 refuses to hand over when the roots differ, keeps the evidence, and cleans up on terminate', async () => {
    const doubles = makeDoubles();
    doubles.fail('freezeReplication', 'ROOTS_DIFFER', { afterEffect: true });
    const result = await migrate(doubles, async (handle) => {
      await until('the failure', () => lastPhase(doubles)?.state === 'Failed');
      expect([...doubles.exists].sort()).toEqual(['agent', 'disks', 'folder', 'job', 'policy', 'vm']);
      await handle.executeUpdate(terminate, { args: [by] });
    });
    expect(result.status).toBe('Terminated');
    expect([...doubles.exists]).toEqual([]);
    expect(doubles.calls).not.toContain('handOver');
    expect(doubles.calls).toContain('restoreSourcePower');
  });

  it('B1 gives the source its power back when a final that failed was retried, and then it is terminated', async () => {
    const doubles = makeDoubles();
    doubles.fail('freezeReplication', 'ROOTS_DIFFER');
    let retriedAt = 0;
    const result = await migrate(doubles, async (handle) => {
      await until('the failure', () => lastPhase(doubles)?.state === 'Failed');
      doubles.ready = false;
      retriedAt = doubles.calls.length;
      await handle.executeUpdate(retry, { args: [by] });
      await until('replication', inStep(doubles, 'replicate'));
      await handle.executeUpdate(terminate, { args: [by] });
    });
    expect(result.status).toBe('Terminated');
    expect(doubles.calls.slice(retriedAt)).toContain('restoreSourcePower');
  });

  it.each([
    ['stopSourceVm', 'SHUT_DOWN_TIMEOUT'],
    ['freezeReplication', 'FREEZE_CANCELLED'],
    ['handOver', 'FREEZE_CANCELLED'],
    ['freezeReplication', 'SOURCE_STORAGE_FAILED'],
    ['handOver', 'SOURCE_STORAGE_FAILED'],
  ] as const)('returns to the source when %s ends with %s, and waits for a person', async (name, code) => {
    const doubles = makeDoubles();
    doubles.fail(name, code);
    const result = await migrate(doubles, async (handle) => {
      await until('the return', () => inStep(doubles, 'ready')() && doubles.calls.includes('restoreSourcePower'));
      expect(doubles.calls.includes('unfreezeReplication')).toBe(name !== 'stopSourceVm');
      expect(lastPhase(doubles)).toMatchObject({ reason: { code } });
      await handle.executeUpdate(finalMigration, { args: [by] });
    });
    expect(result.status).toBe('Completed');
    expect(doubles.calls).not.toContain('powerOnFinalVm');
  });

  it('P2 dials reach the replicator at once, and the newest wish is the last', async () => {
    const doubles = makeDoubles();
    doubles.ready = false;
    const dials = {
      replicationRate: 20,
      writeThrottling: 0,
      bytesPerSecondMax: '1000000',
      addedWriteLatencyMsMax: null,
    };
    await migrate(doubles, async (handle) => {
      await until('replication', inStep(doubles, 'replicate'));
      await handle.signal(changeSettings, { ...dials, replicationRate: 10 });
      await handle.signal(changeSettings, dials);
      await until('the dials', () => doubles.dials.length > 0);
      doubles.ready = true;
    });
    expect(doubles.dials.at(-1)).toEqual(dials);
  });

  it('V4 ends as Aborted when a source disk was changed', async () => {
    const doubles = makeDoubles();
    doubles.activities.superviseReplication = async () => ({
      outcome: 'aborted',
      failure: { code: 'SOURCE_DISK_CHANGED', message: 'Hard disk 1 was removed', remedy: 'Start again' },
    });
    expect(await migrate(doubles, undisturbed)).toEqual({ status: 'Aborted' });
    expect([...doubles.exists]).toEqual([]);
  });
});

/** In which step each held activity is called. */
const stepOf: Partial<Record<keyof AllActivities, string>> = {
  ensureAgentIso: 'agentIso',
  createTargetDisks: 'targetDisks',
  uploadConfigurationIso: 'configurationIso',
  createShadowVm: 'shadowVm',
  powerOnShadowVm: 'powerOnShadowVm',
  waitForShadowVmAddress: 'shadowVmIp',
  enrolShadowVm: 'enrolShadowVm',
  attachStoragePolicy: 'storagePolicy',
  superviseReplication: 'replicate',
  stopSourceVm: 'shutDownGuest',
  freezeReplication: 'freeze',
};
function isAt(doubles: Doubles, name: keyof AllActivities): boolean {
  return lastPhase(doubles)?.step === stepOf[name];
}
