// An upgrade in the middle of running migrations, on a server of its own: pinned workers of two versions, and an upgrade in place.
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import {
  DefaultLogger,
  NativeConnection,
  Runtime,
  Worker,
  bundleWorkflowCode,
  type WorkerOptions,
} from '@temporalio/worker';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { controlTaskQueue, workflowTypes } from '../../temporal/index.ts';
import { currentVersion, makeCurrent, pinnedTo } from '../../workers/worker-version.ts';
import { finalMigration } from '../../workflows/messages.ts';
import { startTemporal, type TestTemporal } from '../helpers/temporal-server.ts';
import { makeDoubles, until, type Doubles } from '../helpers/workflow-doubles.ts';

vi.setConfig({ testTimeout: 120_000 });
const by = { requestedBy: 'tok_test' };

let temporal: TestTemporal;
let native: NativeConnection;
let client: Client;
let workflowBundle: NonNullable<WorkerOptions['workflowBundle']>;
beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  temporal = await startTemporal();
  native = await NativeConnection.connect({ address: temporal.address });
  client = new Client({ connection: await Connection.connect({ address: temporal.address }) });
  const workflowsPath = fileURLToPath(new URL('../../workflows/index.ts', import.meta.url));
  workflowBundle = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('ERROR') });
}, 60_000);
afterAll(async () => {
  await client.connection.close();
  await native.close();
  await temporal.stop();
});

/** A worker of one version, or one that is not pinned; the returned function stops it and waits. */
async function startWorker({ activities }: Doubles, buildId: string | null): Promise<() => Promise<void>> {
  const worker = await Worker.create({
    connection: native,
    taskQueue: controlTaskQueue,
    workflowBundle,
    activities,
    maxHeartbeatThrottleInterval: 20,
    ...(buildId === null ? {} : { workerDeploymentOptions: pinnedTo(buildId) }),
  });
  const running = worker.run();
  return async () => {
    worker.shutdown();
    await running;
  };
}

const startVm = (): Promise<WorkflowHandle> => {
  const workflowId = `vmm_${randomUUID()}`;
  const args = [{ vmMigrationId: workflowId, inGroup: false }];
  return client.workflow.start(workflowTypes.vmMigration, { taskQueue: controlTaskQueue, workflowId, args });
};

async function startAdmission(): Promise<void> {
  const options = { taskQueue: controlTaskQueue, workflowId: 'admission', args: [{}] };
  await client.workflow.start(workflowTypes.admission, { ...options, workflowIdConflictPolicy: 'TERMINATE_EXISTING' });
}

/** The version that a run belongs to. */
async function versionOf(handle: WorkflowHandle): Promise<string | null> {
  const { raw } = await handle.describe();
  return raw.workflowExecutionInfo?.versioningInfo?.deploymentVersion?.buildId ?? null;
}

const replicating = (doubles: Doubles, vms: readonly WorkflowHandle[]) => () =>
  vms.every(({ workflowId }) =>
    doubles.phases.some(({ vmMigrationId, step }) => vmMigrationId === workflowId && step === 'replicate'),
  );

it('M10 in place: another program carries on what the one before began', async () => {
  const doubles = makeDoubles();
  doubles.ready = false;
  const stopOld = await startWorker(doubles, null);
  await startAdmission();
  const vms = await Promise.all([startVm(), startVm()]);
  await until('replication', replicating(doubles, vms));
  await stopOld();
  doubles.ready = true;
  const stopNew = await startWorker(doubles, null);
  for (const vm of vms) expect(await vm.result()).toEqual({ status: 'Completed' });
  await stopNew();
});

it('M10 pinned: migrations stay with the version that began them until they are moved, new ones begin with the current one', async () => {
  const doubles = makeDoubles();
  doubles.ready = false;
  doubles.facts.powersOn = false;
  const stopOld = await startWorker(doubles, '1.0.0-old');
  expect(await currentVersion(client.workflowService)).toBeNull();
  await makeCurrent(client.workflowService, '1.0.0-old');
  await startAdmission();
  const old = await Promise.all([startVm(), startVm()]);
  await until('replication', replicating(doubles, old));

  const stopNew = await startWorker(doubles, '1.1.0-new');
  await makeCurrent(client.workflowService, '1.1.0-new');
  expect(await currentVersion(client.workflowService)).toBe('1.1.0-new');
  const fresh = await startVm();
  await until('replication', replicating(doubles, [fresh]));
  expect(await Promise.all([...old, fresh].map(versionOf))).toEqual(['1.0.0-old', '1.0.0-old', '1.1.0-new']);

  // What is pinned to the old version is told to go on with the current one; then the old version's last worker goes.
  for (const { workflowId } of old) {
    await client.workflowService.updateWorkflowExecutionOptions({
      namespace: 'default',
      workflowExecution: { workflowId },
      workflowExecutionOptions: { versioningOverride: { autoUpgrade: true } },
      updateMask: { paths: ['versioning_override'] },
    });
  }
  await stopOld();
  doubles.ready = true;
  for (const vm of [...old, fresh]) {
    await vi.waitFor(() => vm.executeUpdate(finalMigration, { args: [by] }), { timeout: 30_000, interval: 200 });
    expect(await vm.result()).toEqual({ status: 'Completed' });
  }
  await stopNew();
});
