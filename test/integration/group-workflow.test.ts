// The workflow of a group against activity doubles: readiness, the common point of its final migration, runbook, losses.
import { randomUUID } from 'node:crypto';
import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { AllActivities } from '../../contracts/activities.ts';
import type { FinalOrder } from '../../contracts/workflows.ts';
import { MigrationError, type RunbookStep } from '../../core/index.ts';
import { refusalOf } from '../../temporal/client.ts';
import { toApplicationFailure } from '../../temporal/index.ts';
import { testTemporalAddress } from '../../tools/test-temporal.ts';
import {
  decideMember,
  finalMigration,
  finalOrder,
  memberReport,
  pause,
  resume,
  retry,
  terminate,
} from '../../workflows/messages.ts';
import { makeDoubles, openBench, until, type Doubles, type WorkflowBench } from '../helpers/workflow-doubles.ts';

let bench: WorkflowBench;
beforeAll(async () => {
  bench = await openBench(testTemporalAddress());
});
afterAll(() => bench.close());

const by = { requestedBy: 'tok_test' };
const names = ['vmm_db', 'vmm_app', 'vmm_web'] as const;

interface World {
  readonly doubles: Doubles;
  readonly members: readonly string[];
  readonly group: WorkflowHandle;
  readonly member: (index: number) => WorkflowHandle;
  readonly restart: () => Promise<WorkflowHandle>;
  readonly adopt: (index: number) => Promise<WorkflowHandle>;
}

/** Effects in their order, with the index of the member each was for. */
function logEffects(doubles: Doubles, members: readonly string[], log: [string, number][]): void {
  for (const name of [
    'stopSourceVm',
    'freezeReplication',
    'unfreezeReplication',
    'handOver',
    'powerOnFinalVm',
    'restoreSourcePower',
  ] as const) {
    const effect = doubles.activities[name] as (input: { vmMigrationId: string }) => Promise<never>;
    doubles.activities[name] = async (input: { vmMigrationId: string }) => {
      const result = await effect(input);
      log.push([name, members.indexOf(input.vmMigrationId)]);
      return result;
    };
  }
}

function failFor(
  doubles: Doubles,
  name: keyof AllActivities,
  member: string,
  code: 'ROOTS_DIFFER' | 'DATASTORE_FULL',
  once: () => Promise<void> = async () => undefined,
) {
  const effect = doubles.activities[name] as (input: { vmMigrationId: string }) => Promise<never>;
  let left = 1;
  Object.assign(doubles.activities, {
    [name]: async (input: { vmMigrationId: string }) => {
      if (input.vmMigrationId !== member || left-- <= 0) return effect(input);
      await once();
      throw toApplicationFailure(new MigrationError(code));
    },
  });
}

async function migrate(doubles: Doubles, members: readonly string[], work: (world: World) => Promise<void>) {
  doubles.queue = members;
  doubles.facts.powersOn = false;
  const migrationId = `mig_${randomUUID()}`;
  return bench.run(doubles, async ({ start, client }) => {
    await start('groupMigration', { migrationId }, migrationId);
    const member = (index: number) => client.workflow.getHandle(members[index] ?? '');
    const restart = () => start('groupMigration', { migrationId, restarted: true }, migrationId);
    const adopt = (index: number) =>
      start('vmMigration', { parentWorkflowId: migrationId, inGroup: true, orphan: true }, members[index]);
    await work({ doubles, members, group: client.workflow.getHandle(migrationId), member, restart, adopt });
    return client.workflow.getHandle(migrationId).result() as Promise<unknown>;
  });
}

function group(): { doubles: Doubles; members: readonly string[]; log: [string, number][] } {
  const doubles = makeDoubles();
  doubles.concurrency = 3;
  const members = names.map((name) => `${name}_${randomUUID()}`);
  const log: [string, number][] = [];
  logEffects(doubles, members, log);
  return { doubles, members, log };
}

const waitsFor = (doubles: Doubles, text: string) => () =>
  doubles.migrationNotes.at(-1)?.waitingFor?.includes(text) === true;
const isReady = (doubles: Doubles) => waitsFor(doubles, 'the final migration to be started');
const codeOf = (command: Promise<unknown>): Promise<string | undefined> =>
  command.then(
    () => undefined,
    (error: unknown) => refusalOf(error)?.code,
  );
/** Ids that are put in are ready by the records. */
function knowReady(doubles: Doubles): Set<string> {
  const ready = new Set<string>();
  const { readGroup } = doubles.activities;
  doubles.activities.readGroup = async (input) => {
    const facts = await readGroup(input);
    const statusOf = (id: string) => (ready.has(id) ? 'Ready To Migrate' : 'Queued');
    return { ...facts, members: facts.members.map((member) => ({ ...member, status: statusOf(member.id) })) };
  };
  return ready;
}
/** What the group ordered in its finals, in order. */
async function ordersTo(member: WorkflowHandle): Promise<string[]> {
  const { events = [] } = await member.fetchHistory();
  const signals = events?.map((event) => event.workflowExecutionSignaledEventAttributes) ?? [];
  return signals.flatMap((signal) => {
    if (signal?.signalName !== finalOrder.name) return [];
    const text = Buffer.from(signal.input?.payloads?.[0]?.data ?? []).toString();
    return [(JSON.parse(text) as FinalOrder).order];
  });
}
const stepsOf = (doubles: Doubles, id: string) =>
  doubles.phases.filter(({ vmMigrationId }) => vmMigrationId === id).map(({ step }) => step);
/** Members whose workflow runs or ran. */
const begunOf = (doubles: Doubles) =>
  new Set(doubles.phases.filter(({ step }) => step !== 'ended').map(({ vmMigrationId }) => vmMigrationId));
const indexesOf = (log: [string, number][], name: string) => log.filter(([what]) => what === name).map(([, at]) => at);

describe('groupMigration', () => {
  it('M3 copies side by side, is final-migrated by one action, and ends off/off', async () => {
    const { doubles, members, log } = group();
    doubles.ready = false;
    let orders: string[] = [];
    const result = await migrate(doubles, members, async (world) => {
      await until('all members', () => new Set(doubles.phases.map((phase) => phase.vmMigrationId)).size === 3);
      expect(await codeOf(world.group.executeUpdate(finalMigration, { args: [by] }))).toBe('FINAL_NOT_READY');
      expect(await codeOf(world.member(0).executeUpdate(finalMigration, { args: [by] }))).toBe('PHASE_DISALLOWS');
      doubles.ready = true;
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(finalMigration, { args: [by] });
      await world.group.result();
      orders = await ordersTo(world.member(0));
    });
    expect(result).toEqual({ completed: 3, failed: 0, terminated: 0 });
    // The hand-over says that it stays off: nobody waits for one more order.
    expect(orders).toEqual(['stop', 'freeze', 'hand-over']);
    expect(doubles.migrationNotes.at(-1)).toMatchObject({ waitingFor: null, reason: null });
    const last = (name: string) => log.map(([what]) => what).lastIndexOf(name);
    const first = (name: string) => log.map(([what]) => what).indexOf(name);
    expect(last('stopSourceVm')).toBeLessThan(first('freezeReplication'));
    expect(last('freezeReplication')).toBeLessThan(first('handOver'));
    expect(log.map(([what]) => what)).not.toContain('powerOnFinalVm');
    expect([...doubles.exists]).toEqual([]);
  });

  it('M4 stops and powers on in the order of the runbook', async () => {
    const { doubles, members, log } = group();
    const [db = '', app = '', web = ''] = members;
    const step = (member: string): RunbookStep => ({
      members: [member],
      delaySeconds: 0,
      timeoutSeconds: 20,
      onFailure: 'stop',
    });
    doubles.runbook = {
      shutDown: [step(web), step(app)],
      powerOn: [
        { ...step(db), waitFor: 'tools' },
        { ...step(app), waitFor: 'nothing' },
      ],
    };
    const result = await migrate(doubles, members, async (world) => {
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(finalMigration, { args: [by] });
    });
    expect(result).toEqual({ completed: 3, failed: 0, terminated: 0 });
    expect(indexesOf(log, 'stopSourceVm')).toEqual([2, 1, 0]);
    expect(indexesOf(log, 'powerOnFinalVm')).toEqual([0, 1]);
  });

  it('M3 what a member says twice, or late, takes nothing back', async () => {
    const { doubles, members, log } = group();
    const [db = '', , web = ''] = members;
    const order = { members, delaySeconds: 0, timeoutSeconds: 20, onFailure: 'stop', waitFor: 'nothing' } as const;
    doubles.runbook = { shutDown: [], powerOn: [order] };
    let goOn = (): void => undefined;
    const held = new Promise<void>((resolve) => (goOn = resolve));
    const { copyNvram } = doubles.activities;
    doubles.activities.copyNvram = async (ref) => {
      if (ref.vmMigrationId === web) await held;
      return copyNvram(ref);
    };
    const result = await migrate(doubles, members, async (world) => {
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(finalMigration, { args: [by] });
      await until('the wait', () =>
        doubles.phases.some(
          ({ vmMigrationId, waitingFor }) => vmMigrationId === db && /power-on order/.test(waitingFor ?? ''),
        ),
      );
      for (const news of [{ what: 'off', finalId: 1 }, { what: 'ready' }] as const) {
        await world.group.signal(memberReport, { vmMigrationId: db, news });
      }
      goOn();
    });
    expect(result).toEqual({ completed: 3, failed: 0, terminated: 0 });
    expect(indexesOf(log, 'powerOnFinalVm').sort()).toEqual([0, 1, 2]);
  });

  it('M3 one member that cannot sends all of them back, running at the source', async () => {
    const { doubles, members, log } = group();
    failFor(doubles, 'freezeReplication', members[1] ?? '', 'ROOTS_DIFFER');
    const result = await migrate(doubles, members, async (world) => {
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(finalMigration, { args: [by] });
      await until('the return', () => indexesOf(log, 'restoreSourcePower').length === 3);
      expect(indexesOf(log, 'handOver')).toEqual([]);
      await until('readiness', isReady(doubles));
      expect(doubles.migrationNotes.at(-1)).toMatchObject({ reason: { code: 'GROUP_RETURNED' } });
      await world.group.executeUpdate(finalMigration, { args: [by] });
    });
    expect(result).toEqual({ completed: 3, failed: 0, terminated: 0 });
    expect([...doubles.exists]).toEqual([]);
  });

  it('M3 a member whose freeze comes to its end after everybody was sent back is unfrozen', async () => {
    const { doubles, members, log } = group();
    const goOn = doubles.hold('freezeReplication');
    const [first = '', second = '', third = ''] = members;
    failFor(doubles, 'freezeReplication', second, 'ROOTS_DIFFER', () =>
      until('the others to freeze', () => [first, third].every((id) => stepsOf(doubles, id).includes('freeze'))),
    );
    const result = await migrate(doubles, members, async (world) => {
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(finalMigration, { args: [by] });
      await until('the return', waitsFor(doubles, 'every member to be back at its source'));
      for (const index of [0, 2]) {
        await vi.waitFor(async () => expect(await ordersTo(world.member(index))).toContain('return'), 20_000);
      }
      goOn();
      await until('all to be back', () => indexesOf(log, 'restoreSourcePower').length === 3);
      expect(indexesOf(log, 'unfreezeReplication').sort()).toEqual([0, 1, 2]);
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(finalMigration, { args: [by] });
    });
    expect(result).toEqual({ completed: 3, failed: 0, terminated: 0 });
    expect([...doubles.exists]).toEqual([]);
  });

  it('M3 a member that does not stop in time sends all back', async () => {
    const { doubles, members, log } = group();
    const [db = ''] = members;
    doubles.runbook = {
      shutDown: [{ members: [db], delaySeconds: 0, timeoutSeconds: 1, onFailure: 'stop' }],
      powerOn: [],
    };
    const release = doubles.hold('stopSourceVm');
    const result = await migrate(doubles, members, async (world) => {
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(finalMigration, { args: [by] });
      await until('the return', () => doubles.migrationNotes.some(({ reason }) => reason?.code === 'GROUP_RETURNED'));
      release();
      await until('the power', () => indexesOf(log, 'restoreSourcePower').includes(0));
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(terminate, { args: [by] });
    });
    expect(result).toEqual({ completed: 0, failed: 0, terminated: 3 });
  });

  it('M3 is held by a member that failed; "go on without it" leaves it out, its retry does not disturb', async () => {
    const { doubles, members } = group();
    const [, app = ''] = members;
    failFor(doubles, 'createShadowVm', app, 'DATASTORE_FULL');
    const result = await migrate(doubles, members, async (world) => {
      await until('the decision', waitsFor(doubles, 'a decision about'));
      expect(await codeOf(world.group.executeUpdate(finalMigration, { args: [by] }))).toBe('GROUP_HELD');
      const decide = { ...by, vmMigrationId: app, decision: 'go-on-without' } as const;
      await world.group.executeUpdate(decideMember, { args: [decide] });
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(finalMigration, { args: [by] });
      await world.member(0).result();
      await world.member(2).result();
      await world.member(1).executeUpdate(terminate, { args: [by] });
    });
    expect(result).toEqual({ completed: 2, failed: 0, terminated: 1 });
    expect([...doubles.exists]).toEqual([]);
  });

  it('M3 waits for a member that failed when it is retried', async () => {
    const { doubles, members } = group();
    const [, app = ''] = members;
    failFor(doubles, 'createShadowVm', app, 'DATASTORE_FULL');
    const result = await migrate(doubles, members, async (world) => {
      await until('the decision', waitsFor(doubles, 'a decision about'));
      const decide = { ...by, vmMigrationId: app, decision: 'wait' } as const;
      await world.group.executeUpdate(decideMember, { args: [decide] });
      await world.member(1).executeUpdate(retry, { args: [by] });
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(finalMigration, { args: [by] });
    });
    expect(result).toEqual({ completed: 3, failed: 0, terminated: 0 });
  });

  it('M6 pauses, resumes and terminates all members', async () => {
    const { doubles, members } = group();
    const result = await migrate(doubles, members, async (world) => {
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(pause, { args: [by] });
      await until('the pauses', () => doubles.paused.filter(Boolean).length === 3);
      await world.group.executeUpdate(resume, { args: [by] });
      await world.group.executeUpdate(terminate, { args: [by] });
      expect(await codeOf(world.group.executeUpdate(terminate, { args: [by] }))).toMatch(/PHASE_DISALLOWS|undefined/);
    });
    expect(result).toEqual({ completed: 0, failed: 0, terminated: 3 });
    expect([...doubles.exists]).toEqual([]);
  });

  it('M6 what it is told while it starts members holds for all of them', async () => {
    const doubles = makeDoubles();
    const members = Array.from({ length: 80 }, () => `vmm_${randomUUID()}`);
    doubles.concurrency = 80;
    doubles.ready = false;
    const result = await migrate(doubles, members, async (world) => {
      await until('the first', () => begunOf(doubles).size > 0);
      await world.group.executeUpdate(pause, { args: [by] });
      await until('the pauses', () => doubles.paused.length === begunOf(doubles).size);
      const begun = begunOf(doubles).size;
      await world.group.executeUpdate(resume, { args: [by] });
      await until('the next', () => begunOf(doubles).size > begun);
      await world.group.executeUpdate(terminate, { args: [by] });
    });
    expect(result).toEqual({ completed: 0, failed: 0, terminated: members.length });
    expect(begunOf(doubles).size).toBeLessThan(members.length);
    expect([...doubles.exists]).toEqual([]);
  });

  it('M6 ended from outside and started again, it stays paused and terminates whoever runs', async () => {
    const { doubles, members } = group();
    const [first = '', ...others] = members;
    doubles.concurrency = 1;
    doubles.ready = false;
    const result = await migrate(doubles, members, async (world) => {
      await until('the first', () => stepsOf(doubles, first).includes('replicate'));
      await world.group.terminate('by hand');
      doubles.standsPaused = true;
      doubles.concurrency = 3;
      await world.restart();
      await until('the pause', waitsFor(doubles, 'the migration to be resumed'));
      expect(doubles.migrationNotes.at(-1)).toMatchObject({ paused: true });
      expect(await codeOf(world.group.executeUpdate(pause, { args: [by] }))).toBe('PHASE_DISALLOWS');
      expect(others.flatMap((id) => stepsOf(doubles, id))).toEqual([]);
      await world.group.executeUpdate(terminate, { args: [by] });
    });
    expect(result).toEqual({ completed: 0, failed: 0, terminated: 3 });
    expect(stepsOf(doubles, first).slice(-2)).toEqual(['unwind', 'ended']);
    for (const id of others) expect(stepsOf(doubles, id)).toEqual(['ended']);
    expect([...doubles.exists]).toEqual([]);
  });

  it('M3 started again, it goes on to the next member past those that are ready already', async () => {
    const { doubles, members } = group();
    const last = members[2] ?? '';
    doubles.concurrency = 1;
    const ready = knowReady(doubles);
    const result = await migrate(doubles, members, async (world) => {
      doubles.ready = false;
      await until('the first', () => stepsOf(doubles, members[0] ?? '').includes('replicate'));
      doubles.ready = true;
      await until('the second', () => stepsOf(doubles, members[1] ?? '').includes('ready'));
      await world.group.terminate('by hand');
      for (const id of members.slice(0, 2)) ready.add(id);
      await world.restart();
      await until('the last', () => stepsOf(doubles, last).includes('ready'));
      await until('readiness', isReady(doubles));
      await world.group.executeUpdate(finalMigration, { args: [by] });
    });
    expect(result).toEqual({ completed: 3, failed: 0, terminated: 0 });
  });

  it('M3 ended from outside before the hand-over and started again, it sends everybody back; the next final succeeds', async () => {
    const { doubles, members, log } = group();
    const goOn = doubles.hold('freezeReplication');
    await migrate(doubles, members, async (world) => {
      await finalUntil(world, 'freezeReplication', () => log.filter(([name]) => name === 'stopSourceVm').length === 3);
      await endFromOutside(world, () => false);
      goOn();
      await until('all to be back', () => log.filter(([name]) => name === 'restoreSourcePower').length === 3);
      await until('the trouble to be said', () => doubles.migrationNotes.at(-1)?.reason?.code === 'GROUP_RETURNED');
      await until('readiness', waitsFor(doubles, 'the final migration to be started'));
      expect(log.some(([name]) => name === 'handOver')).toBe(false);
      await world.group.executeUpdate(finalMigration, { args: [by] });
    }).then((ends) => expect(ends).toEqual({ completed: 3, failed: 0, terminated: 0 }));
  });

  it('M4 ended from outside after the first hand-over and started again, it goes forward by its runbook', async () => {
    const { doubles, members, log } = group();
    doubles.runbook = { shutDown: [], powerOn: [{ ...oneStep, members: [members[0] ?? ''], waitFor: 'nothing' }] };
    let first = true;
    const { handOver } = doubles.activities;
    let goOn = (): void => undefined;
    const held = new Promise<void>((resolve) => (goOn = resolve));
    doubles.activities.handOver = async (input) => {
      if (input.vmMigrationId === members[0] && first) first = false;
      else await held;
      return handOver(input);
    };
    await migrate(doubles, members, async (world) => {
      await finalUntil(world, 'handOver', () => doubles.calls.includes('copyNvram'));
      await endFromOutside(world, (index) => index === 0);
      goOn();
    }).then((ends) => expect(ends).toEqual({ completed: 3, failed: 0, terminated: 0 }));
    expect(log.filter(([name]) => name === 'powerOnFinalVm')).toEqual([['powerOnFinalVm', 0]]);
    expect(log.some(([name]) => name === 'restoreSourcePower')).toBe(false);
  });

  it('M4 started again after the first hand-over, it leaves out who cannot be handed over any more', async () => {
    const { doubles, members } = group();
    const step = (member = '') => ({ ...oneStep, members: [member], waitFor: 'nothing' }) as const;
    doubles.runbook = { shutDown: [], powerOn: members.map(step) };
    const { handOver } = doubles.activities;
    let goOn = (): void => undefined;
    const held = new Promise<void>((resolve) => (goOn = resolve));
    let passes = 1;
    doubles.activities.handOver = async (input) => {
      if (input.vmMigrationId !== members[0] || passes-- <= 0) await held;
      if (input.vmMigrationId === members[2]) throw toApplicationFailure(new MigrationError('FREEZE_CANCELLED'));
      return handOver(input);
    };
    let orders: string[] = [];
    const result = await migrate(doubles, members, async (world) => {
      await finalUntil(world, 'handOver', () => doubles.calls.includes('copyNvram'));
      doubles.migrationNotes.length = 0;
      await endFromOutside(world, (index) => index === 0);
      goOn();
      await until('the others', () => doubles.phases.filter(({ step }) => step === 'ended').length === 2);
      await until('the last', () => stepsOf(doubles, members[2] ?? '').at(-1) === 'ready');
      await until('the group', isReady(doubles));
      orders = await ordersTo(world.member(2));
      await world.group.executeUpdate(terminate, { args: [by] });
    });
    expect(result).toEqual({ completed: 2, failed: 0, terminated: 1 });
    expect(orders).toEqual(['stop', 'freeze', 'hand-over', 'hand-over']);
  });

  it('M3 does not wait for the report of a member that was adopted after its hand-over', async () => {
    const { doubles, members } = group();
    const ready = knowReady(doubles);
    const result = await migrate(doubles, members, async (world) => {
      await until('readiness', isReady(doubles));
      // So that it hears of ends by signals only.
      await world.group.terminate('by hand');
      for (const id of members) ready.add(id);
      doubles.migrationNotes.length = 0;
      await world.restart();
      const release = doubles.hold('detachTargetDisks');
      await finalUntil(world, 'the hand-overs', () => doubles.calls.filter((name) => name === 'handOver').length === 3);
      await world.member(0).terminate('by hand');
      doubles.standing = { step: 'detachDisks', ended: null, handedOver: true };
      await world.adopt(0);
      release();
    });
    expect(result).toEqual({ completed: 3, failed: 0, terminated: 0 });
  });
});

const oneStep = { delaySeconds: 0, timeoutSeconds: 60, onFailure: 'stop' } as const;

async function finalUntil({ doubles, group }: World, what: string, holds: () => boolean): Promise<void> {
  await until('readiness', waitsFor(doubles, 'the final migration to be started'));
  await group.executeUpdate(finalMigration, { args: [by] });
  await until(what, holds);
}

/** As an operator with Temporal's own tools; then what the janitor does. */
async function endFromOutside(world: World, isHandingOver: (index: number) => boolean): Promise<void> {
  const { doubles, members, group } = world;
  await group.terminate('by hand');
  doubles.inFinal = members.map((id, index) => ({ id, handingOver: isHandingOver(index) }));
  await world.restart();
}
