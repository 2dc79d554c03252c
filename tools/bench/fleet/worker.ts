/**
 * One worker process of the suite `fleet`: real workflows and real records; vCenters and replicators are simulated by waiting.
 * `worker.ts workflows` runs workflows with their notes (local activities), `activities` everything else, so that what workflows
 * cost is the processor time of a process of their own.
 */
import '../../../workers/workflow-threads.ts';
import { Context } from '@temporalio/activity';
import { NativeConnection, Worker } from '@temporalio/worker';
import { notingFirst } from '../../../activities/noting-first.ts';
import { beginFinal } from '../../../activities/records/facts.ts';
import { recordsActivities } from '../../../activities/records/index.ts';
import type { Services } from '../../../activities/services.ts';
import type { AllActivities } from '../../../contracts/activities.ts';
import { openDatabase } from '../../../db/index.ts';
import { controlTaskQueue } from '../../../temporal/index.ts';
import { encryptingConverter } from '../../../temporal/payload-codec.ts';
import { openKeyring } from '../../../temporal/payload-keys.ts';
import { plainActivities } from '../../../test/helpers/plain-activities.ts';
import { workerTuning } from '../../../workers/worker-tuning.ts';

/** A call to a vCenter, in a hurry. */
const stepMs = 20;
/** A first copy; long enough that a thousand of them overlap. */
const copyMs = Number(process.env['FLEET_COPY_MS'] ?? 20_000);

const [role = 'workflows'] = process.argv.slice(2);
const { TEMPORAL_ADDRESS: address = '', DATABASE_URL: databaseUrl = '', FLEET_KEYS: keysFile = '' } = process.env;
const database = openDatabase(databaseUrl);

/** Waits as the real activities do: saying every second that it is alive. */
async function rest(milliseconds: number): Promise<void> {
  for (let left = milliseconds; left > 0; left -= 1000) {
    Context.current().heartbeat();
    await Context.current().sleep(Math.min(left, 1000));
  }
}

const step = (): Promise<void> => rest(stepMs);
const simulated: Partial<AllActivities> = {
  ...Object.fromEntries(plainActivities.map((name) => [name, step])),
  async stopSourceVm({ vmMigrationId, approvedBy }) {
    const begun = await beginFinal(database, vmMigrationId, approvedBy);
    await step();
    return begun;
  },
  changeDials: step,
  waitForFinalGuest: async () => true,
  async superviseReplication({ until }) {
    if (until === 'ready') await rest(copyMs);
    if (until !== 'not-ready') return { outcome: until === 'ready' ? 'ready' : 'final' };
    for (;;) await rest(60_000);
  },
};

/** Notes of handlers are ordinary activities, all others local ones. */
const notes = recordsActivities({ database } as unknown as Services);
const worker = await Worker.create({
  connection: await NativeConnection.connect({ address }),
  taskQueue: controlTaskQueue,
  dataConverter: encryptingConverter(await openKeyring(keysFile)),
  ...(role === 'workflows'
    ? {
        workflowBundle: { codePath: 'dist/workflow-bundle.js' },
        ...workerTuning,
        enableNonLocalActivities: false,
        activities: notes,
      }
    : {
        activities: notingFirst({ ...notes, ...simulated } as AllActivities),
        maxConcurrentActivityTaskExecutions: 6000,
      }),
});
process.stdout.write('{"ready":true}\n');
await worker.run();
