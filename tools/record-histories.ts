/**
 * Records histories of every workflow, so that a later version can be replayed against them: `npm run record:histories`
 * runs the scenarios below against activity doubles and a Temporal server in memory, and writes test/histories/NAME.json;
 * `-- NAME ...` only these. A changed workflow that cannot replay them needs `patched`: record anew
 * only what cannot be replayed, and only for versions that were never released.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import type { Client, WorkflowHandle } from '@temporalio/client';
import { shortHistories, startTemporal } from '../test/helpers/temporal-server.ts';
import { makeDoubles, openBench, until, type Doubles, type RunningBench } from '../test/helpers/workflow-doubles.ts';
import {
  changeQueue,
  changeSettings,
  claimTokens,
  finalMigration,
  pause,
  resume,
  retry,
  terminate,
} from '../workflows/messages.ts';

const folder = 'test/histories';
const by = { requestedBy: 'tok_recorded' };

interface Scene extends RunningBench {
  readonly doubles: Doubles;
}

/** Runs to an end and gives the workflows whose histories are kept, by name. */
type Scenario = (scene: Scene) => Promise<Readonly<Record<string, WorkflowHandle>>>;

const inStep = (doubles: Doubles, step: string) => () => doubles.phases.at(-1)?.step === step;
const waitsFor = (doubles: Doubles, text: string) => () =>
  doubles.migrationNotes.at(-1)?.waitingFor?.includes(text) === true;

const scenarios: Readonly<Record<string, Scenario>> = {
  'vm-auto-final': async ({ start }) => {
    const vm = await start('vmMigration', {});
    await vm.result();
    return { vm };
  },
  'vm-manual-with-everything': async ({ start, doubles }) => {
    doubles.facts.powersOn = false;
    doubles.ready = false;
    doubles.fail('createShadowVm', 'VSPHERE_NO_SPACE');
    const vm = await start('vmMigration', {});
    await until('the failure', () => doubles.phases.at(-1)?.state === 'Failed');
    await vm.executeUpdate(retry, { args: [by] });
    await until('replication', inStep(doubles, 'replicate'));
    await vm.signal(changeSettings, null);
    await vm.executeUpdate(pause, { args: [by] });
    await vm.executeUpdate(resume, { args: [by] });
    doubles.ready = true;
    await until('readiness', inStep(doubles, 'ready'));
    await vm.executeUpdate(finalMigration, { args: [by] });
    await vm.result();
    return { vm };
  },
  'vm-terminated': async ({ start, doubles }) => {
    doubles.ready = false;
    const vm = await start('vmMigration', {});
    await until('replication', inStep(doubles, 'replicate'));
    await vm.executeUpdate(terminate, { args: [by] });
    await vm.result();
    return { vm };
  },
  'vm-returned-to-source': async ({ start, doubles }) => {
    doubles.fail('handOver', 'FREEZE_CANCELLED');
    const vm = await start('vmMigration', {});
    await until('the return', () => inStep(doubles, 'ready')() && doubles.calls.includes('unfreezeReplication'));
    await vm.executeUpdate(finalMigration, { args: [by] });
    await vm.result();
    return { vm };
  },
  'vm-adopted': async ({ start, doubles }) => {
    doubles.standing = { step: 'freeze', ended: null, handedOver: false };
    const vm = await start('vmMigration', { orphan: true });
    await vm.result();
    return { vm };
  },
  group: async ({ start, doubles, client }) => {
    const [db = '', web = ''] = fillQueue(doubles, 2);
    doubles.facts.powersOn = false;
    doubles.concurrency = 2;
    const step = { delaySeconds: 0, timeoutSeconds: 60, onFailure: 'stop' } as const;
    doubles.runbook = {
      shutDown: [{ ...step, members: [web] }],
      powerOn: [{ ...step, members: [db], waitFor: 'tools' }],
    };
    doubles.fail('freezeReplication', 'ROOTS_DIFFER');
    const migrationId = `mig_${randomUUID()}`;
    const group = await start('groupMigration', { migrationId }, migrationId);
    for (let round = 0; round < 2; round++) {
      await until('readiness', waitsFor(doubles, 'the final migration to be started'));
      doubles.migrationNotes.length = 0;
      await group.executeUpdate(finalMigration, { args: [by] });
    }
    await group.result();
    return { group, member: client.workflow.getHandle(db) };
  },
  queue: async ({ start, doubles, client }) => {
    const [first = '', , last = ''] = fillQueue(doubles, 3);
    const release = doubles.hold('ensureAgentIso');
    const migrationId = `mig_${randomUUID()}`;
    const queue = await start('independentMigration', { migrationId }, migrationId);
    await until('the first', () => doubles.phases.some(({ vmMigrationId }) => vmMigrationId === first));
    await queue.executeUpdate(changeQueue, { args: [{ ...by, change: { kind: 'remove', id: last } }] });
    release();
    await queue.result();
    return { queue, admission: client.workflow.getHandle('admission') };
  },
  'cluster-setup': async ({ start }) => {
    const setup = await start('clusterSetup', { clusterId: 'cl_recorded' }, `cluster-setup/${randomUUID()}`);
    await setup.result();
    return { setup };
  },
  janitor: async ({ start, doubles }) => {
    doubles.leftovers = [{ vmMigrationId: 'vmm_left', completed: false }];
    const janitor = await start('janitor', {}, `janitor-${randomUUID()}`);
    await janitor.result();
    return { janitor };
  },
};

/** The same against a server that calls short histories long: runs that begin with what the one before carried. */
const renewals: Readonly<Record<string, Scenario>> = {
  'vm-begun-anew': async ({ start, doubles, client }) => {
    doubles.facts.powersOn = false;
    const vm = await start('vmMigration', {});
    await until('readiness', inStep(doubles, 'ready'));
    const runs = await renewed(client, vm, () => pauseAndResume(vm));
    // The last run's word may still be the newest one.
    const timesReady = () => doubles.phases.filter(({ step }) => step === 'ready').length;
    await until('readiness', () => timesReady() > 1);
    await vm.executeUpdate(finalMigration, { args: [by] });
    await vm.result();
    return runs;
  },
  'group-begun-anew': async ({ start, doubles, client }) => {
    fillQueue(doubles, 2);
    doubles.facts.powersOn = false;
    doubles.concurrency = 2;
    const migrationId = `mig_${randomUUID()}`;
    const group = await start('groupMigration', { migrationId }, migrationId);
    await until('readiness', waitsFor(doubles, 'the final migration to be started'));
    const runs = await renewed(client, group, () => pauseAndResume(group));
    await until('readiness', waitsFor(doubles, 'the final migration to be started'));
    await group.executeUpdate(finalMigration, { args: [by] });
    await group.result();
    return runs;
  },
  'queue-begun-anew': async ({ start, doubles, client }) => {
    const [first = '', , last = ''] = fillQueue(doubles, 3);
    const release = doubles.hold('ensureAgentIso');
    const migrationId = `mig_${randomUUID()}`;
    const queue = await start('independentMigration', { migrationId }, migrationId);
    await until('the first', () => doubles.phases.some(({ vmMigrationId }) => vmMigrationId === first));
    const { first: before, last: after } = await renewed(client, queue, async () => {
      for (const kind of ['hold', 'let-go'] as const) {
        await queue.executeUpdate(changeQueue, { args: [{ ...by, change: { kind, id: last } }] });
      }
    });
    const desk = client.workflow.getHandle('admission');
    const claim = { id: first, needs: { total: 1 }, priority: 3, owner: migrationId };
    const { first: deskBefore, last: deskAfter } = await renewed(client, desk, () => desk.signal(claimTokens, claim));
    release();
    await queue.result();
    return { 'queue-first': before, 'queue-last': after, 'admission-first': deskBefore, 'admission-last': deskAfter };
  },
};

async function pauseAndResume(handle: WorkflowHandle): Promise<void> {
  await handle.executeUpdate(pause, { args: [by] });
  await handle.executeUpdate(resume, { args: [by] });
}

/** Gives the command until another run has begun. */
async function renewed(client: Client, handle: WorkflowHandle, command: () => Promise<void>) {
  const runNow = async (): Promise<string> => (await handle.describe()).runId;
  const firstRun = await runNow();
  while ((await runNow()) === firstRun) await command();
  return { first: client.workflow.getHandle(handle.workflowId, firstRun), last: handle };
}

function fillQueue(doubles: Doubles, length: number): readonly string[] {
  const members = Array.from({ length }, () => `vmm_${randomUUID()}`);
  doubles.queue = members;
  return members;
}

async function record(address: string, recorded: readonly (readonly [string, Scenario])[]): Promise<void> {
  const bench = await openBench(address);
  mkdirSync(folder, { recursive: true });
  for (const [name, run] of recorded) {
    const doubles = makeDoubles();
    await bench.run(doubles, async (running) => {
      const handles = await run({ ...running, doubles });
      for (const [part, handle] of Object.entries(handles)) await keep(`${name}.${part}`, handle);
    });
  }
  await bench.close();
}

function refuseUnknown(names: readonly string[]): void {
  const known = [...Object.keys(scenarios), ...Object.keys(renewals)];
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`No such scenario: ${unknown.join(', ')}. There are: ${known.join(', ')}`);
}

async function keep(name: string, handle: WorkflowHandle): Promise<void> {
  // Stacks name folders of this machine, and replaying does not need them.
  const history: unknown = JSON.parse(historyToJSON(await handle.fetchHistory()), (key, value: unknown) =>
    key === 'stackTrace' ? '' : value,
  );
  writeFileSync(`${folder}/${name}.json`, `${JSON.stringify(history)}\n`);
  process.stdout.write(`${name}: written\n`);
}

/** More than a run needs to come back to where it waits. */
const eventsOfLongHistory = 90;
const names = process.argv.slice(2);
refuseUnknown(names);
for (const [all, settings] of [
  [scenarios, {}],
  [renewals, shortHistories(eventsOfLongHistory)],
] as const) {
  const recorded = Object.entries(all).filter(([name]) => names.length === 0 || names.includes(name));
  if (recorded.length === 0) continue;
  const temporal = await startTemporal(settings);
  try {
    await record(temporal.address, recorded);
  } finally {
    await temporal.stop();
  }
}
