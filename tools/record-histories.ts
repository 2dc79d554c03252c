/**
 * Records histories of every workflow, so that a later version can be replayed against them: `npm run record:histories`
 * runs the scenarios below against activity doubles and a Temporal server in memory, and writes test/histories/NAME.json;
 * `-- NAME ...` only these. A changed workflow that cannot replay them needs `patched`: record anew
 * only what cannot be replayed, and only for versions that were never released.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import type { WorkflowHandle } from '@temporalio/client';
import { searchAttributes } from '../temporal/index.ts';
import { makeDoubles, openBench, until, type Doubles, type RunningBench } from '../test/helpers/workflow-doubles.ts';
import { supervise } from '../workers/embedded/part.ts';
import { freePort } from '../workers/embedded/ports.ts';
import { findTemporalCli } from '../workers/embedded/temporal-cli.ts';
import { prepareNamespace } from '../workers/embedded/temporal-namespace.ts';
import { prepareTemporal } from '../workers/embedded/temporal.ts';
import { changeQueue, changeSettings, finalMigration, pause, resume, retry, terminate } from '../workflows/messages.ts';

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

function fillQueue(doubles: Doubles, length: number): readonly string[] {
  const members = Array.from({ length }, () => `vmm_${randomUUID()}`);
  doubles.queue = members;
  return members;
}

async function record(address: string): Promise<void> {
  const bench = await openBench(address);
  mkdirSync(folder, { recursive: true });
  for (const [name, run] of chosen(process.argv.slice(2))) {
    const doubles = makeDoubles();
    await bench.run(doubles, async (running) => {
      const handles = await run({ ...running, doubles });
      for (const [part, handle] of Object.entries(handles)) await keep(`${name}.${part}`, handle);
    });
  }
  await bench.close();
}

function chosen(names: readonly string[]): readonly (readonly [string, Scenario])[] {
  const unknown = names.filter((name) => scenarios[name] === undefined);
  if (unknown.length > 0) {
    throw new Error(`No such scenario: ${unknown.join(', ')}. There are: ${Object.keys(scenarios).join(', ')}`);
  }
  return Object.entries(scenarios).filter(([name]) => names.length === 0 || names.includes(name));
}

async function keep(name: string, handle: WorkflowHandle): Promise<void> {
  // Stacks name folders of this machine, and replaying does not need them.
  const history: unknown = JSON.parse(historyToJSON(await handle.fetchHistory()), (key, value: unknown) =>
    key === 'stackTrace' ? '' : value,
  );
  writeFileSync(`${folder}/${name}.json`, `${JSON.stringify(history)}\n`);
  process.stdout.write(`${name}: written\n`);
}

const embedded = prepareTemporal({
  cli: await findTemporalCli(process.env),
  logFile: '/dev/null',
  port: await freePort(),
});
const part = supervise(embedded.spec, { say: (line) => console.error(line), started: () => undefined });
try {
  await part.firstReady;
  await prepareNamespace(embedded.address, searchAttributes, { embedded: true });
  await record(embedded.address);
} finally {
  await part.stop();
}
