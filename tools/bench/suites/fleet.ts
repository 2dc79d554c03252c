/**
 * Suite `fleet`: a thousand VMs in groups and queues against a workflow engine, with simulated vCenters and replicators. What
 * orchestration itself costs: processor time and events per VM, and how soon a person is answered. In the middle the workflows'
 * worker is killed once; the supervisor starts it again.
 */
import { statfsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { WorkflowNotFoundError, WorkflowUpdateFailedError, WorkflowUpdateStage } from '@temporalio/client';
import type { Client } from '@temporalio/client';
import type { Database } from '../../../db/index.ts';
import { admissionWorkflowId, controlTaskQueue, workflowTypes } from '../../../temporal/index.ts';
import type { Part } from '../../../workers/embedded/part.ts';
import { finalMigration, pause, resume } from '../../../workflows/messages.ts';
import type { Bench } from '../context.ts';
import { always, atMost, published, type SuiteResult } from '../figure.ts';
import { startFleet } from '../fleet/installation.ts';
import {
  fillRecords,
  groupSize,
  queueConcurrency,
  queueSize,
  startsPerSecond,
  type FleetMigration,
} from '../fleet/records.ts';
import { quantile } from '../statistics.ts';

const vmsDefault = 1000;
const vmsQuick = 60;
const by = { requestedBy: 'bench' };
/** People give a command, and its opposite, so often while everything runs; more would be measured as a part of the migrations. */
const commandEveryMs = 2000;
const commandsPerLook = 2;
/** Answers of so long after the kill are counted by themselves: the worker has to start and to read histories first. */
const recoveryMs = 30_000;
/** Copies take so much longer than it takes until the last one begins: all of them overlap. */
const copyToBegin = 1.2;
/** Histories that are looked at for their length. */
const historiesMax = 50;
const bytesPerMib = 1024 ** 2;
/** TMPFS_MAGIC of linux/magic.h. */
const tmpfsType = 0x0102_1994;

export async function measureFleet(bench: Bench): Promise<SuiteResult> {
  const vms = bench.vms ?? (bench.quick ? vmsQuick : vmsDefault);
  const run = await runFleet(bench, vms);
  const engine = bench.temporal === undefined ? 'the embedded workflow engine' : 'a workflow engine of its own';
  return {
    figures: [
      atMost('workflow CPU per VM for a whole migration', [run.cpuMsPerVm], 150, 'ms'),
      atMost('events of the history per VM', [run.eventsPerVm], 250, ''),
      atMost('an operator is answered, p99, while all run', [run.answerMsP99], 500, 'ms'),
      always('every VM completes, with a worker killed in the middle', [run.completed === vms]),
      published('an operator is answered, p50', [run.answerMsP50], 'ms'),
      published('an operator is answered, longest in the half minute after the kill', [run.answerMsAfterKill], 'ms'),
      published('most VMs under way at one moment', [run.underWayMost], ''),
      published('most memory of the workflows’ worker', [run.memoryPeakBytes / bytesPerMib], 'MiB'),
      published('from start to the end of the last', [run.seconds], 's'),
    ],
    cells: [],
    plots: [],
    notes: [
      `${vms} VMs against ${engine}: groups of ${groupSize}, queues of ${queueSize} with ${queueConcurrency} at once, ${startsPerSecond(vms)} begin per second; ` +
        'vCenters and replicators are simulated by waiting, in a process of their own. One round. Workflow CPU is the user and ' +
        'system time of the process that runs workflows and the notes that they write themselves (its start, the killed one and ' +
        'the replay after it included); the engine, Postgres, and simulated activities with the notes of the steps that they begin ' +
        'are other processes. ' +
        `An answer is an update accepted or refused by a VM’s workflow: ${run.answers} of them. ` +
        `The data folders of engine and Postgres lay ${run.inMemory ? 'in memory' : 'on a disk'}.`,
    ],
  };
}

interface FleetRun {
  readonly cpuMsPerVm: number;
  readonly eventsPerVm: number;
  readonly answers: number;
  readonly answerMsP50: number;
  readonly answerMsP99: number;
  /** The longest within half a minute after the kill. */
  readonly answerMsAfterKill: number;
  readonly underWayMost: number;
  readonly memoryPeakBytes: number;
  readonly completed: number;
  readonly seconds: number;
  /** Whether what engine and Postgres write went to memory instead of a disk. */
  readonly inMemory: boolean;
}

/** What the run works with. */
interface Fleet {
  readonly client: Client;
  readonly database: Database;
  readonly migrations: readonly FleetMigration[];
}

async function runFleet(bench: Bench, vms: number): Promise<FleetRun> {
  const scratch = bench.folder('fleet');
  const parts: Part[] = [];
  try {
    const plan = {
      scratch,
      parts,
      temporal: bench.temporal,
      copyMs: (vms / startsPerSecond(vms)) * copyToBegin * 1000,
    };
    const { client, database, ...workers } = await startFleet(plan);
    const fleet = { client, database, migrations: await fillRecords(database, vms) };
    const begunMs = performance.now();
    await startMigrations(fleet);
    const answersMs: number[] = [];
    const afterKillMs: number[] = [];
    let underWayMost = 0;
    let killedAtMs: number | null = null;
    for (let ended = 0; ended < vms; ended = await countEnded(fleet)) {
      const underWay = await countUnderWay(fleet);
      underWayMost = Math.max(underWayMost, underWay);
      bench.say(`${underWay} under way, ${ended} of ${vms} have ended`);
      if (killedAtMs === null && ended > vms / 4) {
        workers.killWorkflows();
        killedAtMs = performance.now();
      }
      await finishReadyGroups(fleet);
      const recovers = killedAtMs !== null && performance.now() < killedAtMs + recoveryMs;
      (recovers ? afterKillMs : answersMs).push(...(await askOften(fleet)));
    }
    const seconds = (performance.now() - begunMs) / 1000;
    const run = {
      cpuMsPerVm: (workers.workflowCpuSeconds() * 1000) / vms,
      eventsPerVm: await meanEvents(fleet),
      answers: answersMs.length,
      answerMsP50: quantile(answersMs, 0.5),
      answerMsP99: quantile(answersMs, 0.99),
      answerMsAfterKill: Math.max(0, ...afterKillMs),
      underWayMost,
      memoryPeakBytes: workers.workflowMemoryPeakBytes(),
      completed: await database.prisma.vmMigration.count({ where: { status: 'Completed' } }),
      seconds,
      inMemory: statfsSync(scratch.path).type === tmpfsType,
    };
    await database.close();
    await client.connection.close();
    return run;
  } finally {
    for (const part of parts.reverse()) await part.stop();
    scratch.drop();
  }
}

async function startMigrations({ client, migrations }: Fleet): Promise<void> {
  const options = { taskQueue: controlTaskQueue } as const;
  // A given engine may still have one of an earlier run.
  await client.workflow.start(workflowTypes.admission, {
    ...options,
    workflowId: admissionWorkflowId,
    workflowIdConflictPolicy: 'TERMINATE_EXISTING',
    args: [{}],
  });
  for (const { id, kind } of migrations) {
    const type = kind === 'group' ? workflowTypes.groupMigration : workflowTypes.independentMigration;
    await client.workflow.start(type, { ...options, workflowId: id, args: [{ migrationId: id }] });
  }
}

const countEnded = ({ database }: Fleet): Promise<number> =>
  database.prisma.vmMigration.count({ where: { endedAt: { not: null } } });

const countUnderWay = ({ database }: Fleet): Promise<number> =>
  database.prisma.vmMigration.count({ where: { endedAt: null, status: { not: 'Queued' } } });

async function finishReadyGroups({ client, database }: Fleet): Promise<void> {
  const ready = await database.prisma.migration.findMany({
    where: { kind: 'group', endedAt: null, waitingFor: 'the final migration to be started' },
  });
  for (const { id } of ready) {
    await client.workflow
      .getHandle(id)
      .executeUpdate(finalMigration, { args: [by] })
      .catch(ignoreRefusal);
  }
}

/** Commands of a person, one after another; how long each took to be accepted or refused, in milliseconds. */
async function askOften(fleet: Fleet): Promise<number[]> {
  const answersMs: number[] = [];
  for (let command = 0; command < commandsPerLook; command++) {
    const tookMs = await ask(fleet);
    if (tookMs !== null) answersMs.push(tookMs);
    await sleep(commandEveryMs);
  }
  return answersMs;
}

/** Pauses one VM for a moment. Null when its workflow has not begun or has ended: then nobody was asked. */
async function ask({ client, migrations }: Fleet): Promise<number | null> {
  const handle = client.workflow.getHandle(oneOf(oneOf(migrations).members));
  const begunMs = performance.now();
  try {
    const update = await handle.startUpdate(pause, { args: [by], waitForStage: WorkflowUpdateStage.ACCEPTED });
    const tookMs = performance.now() - begunMs;
    const accepted = await update.result().then(() => true, ignoreRefusal);
    if (accepted === true) await handle.executeUpdate(resume, { args: [by] }).catch(ignoreRefusal);
    return tookMs;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return null;
    throw error;
  }
}

function oneOf<Item>(items: readonly Item[]): Item {
  const item = items[Math.floor(Math.random() * items.length)];
  if (item === undefined) throw new Error('there is nothing to choose from');
  return item;
}

/** A refusal is an answer as well; so is that the workflow has meanwhile ended. */
function ignoreRefusal(error: unknown): void {
  if (!(error instanceof WorkflowUpdateFailedError) && !(error instanceof WorkflowNotFoundError)) throw error;
}

async function meanEvents({ client, migrations }: Fleet): Promise<number> {
  const members = migrations.flatMap((migration) => migration.members);
  const every = Math.ceil(members.length / historiesMax);
  const looked = members.filter((_, index) => index % every === 0);
  const lengths = await Promise.all(
    looked.map(async (id) => (await client.workflow.getHandle(id).describe()).historyLength),
  );
  return lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
}
