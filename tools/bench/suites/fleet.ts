/**
 * Suite `fleet`: a thousand VMs in groups and queues against the embedded workflow engine, with simulated vCenters and
 * replicators. What orchestration itself costs: processor time and events per VM, and how soon a person is answered. In the
 * middle the workflows' worker is killed once; the supervisor starts it again.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client, Connection, WorkflowUpdateFailedError } from '@temporalio/client';
import { autoFinal, manualFinal, type MigrationKind } from '../../../core/index.ts';
import { createMigration, insertSite, migrate, openDatabase, sealingKey, setCapacities } from '../../../db/index.ts';
import type { Database, Site } from '../../../db/index.ts';
import { admissionWorkflowId, controlTaskQueue, searchAttributes, workflowTypes } from '../../../temporal/index.ts';
import { encryptingConverter } from '../../../temporal/payload-codec.ts';
import { openPayloadKeys } from '../../../temporal/payload-keys.ts';
import { supervise, type Part } from '../../../workers/embedded/part.ts';
import { freePort } from '../../../workers/embedded/ports.ts';
import { ensureDatabase, preparePostgres } from '../../../workers/embedded/postgres.ts';
import { findTemporalCli } from '../../../workers/embedded/temporal-cli.ts';
import { prepareNamespace } from '../../../workers/embedded/temporal-namespace.ts';
import { prepareTemporal } from '../../../workers/embedded/temporal.ts';
import { finalMigration, pause, resume } from '../../../workflows/messages.ts';
import type { Bench, Scratch } from '../context.ts';
import { always, atMost, published, type SuiteResult } from '../figure.ts';
import { cpuSecondsOf } from '../procfs.ts';
import { quantile } from '../statistics.ts';

const workerFile = fileURLToPath(new URL('../fleet-worker.ts', import.meta.url));
const groupSize = 20;
const queueSize = 100;
const queueConcurrency = 25;
const by = { requestedBy: 'bench' };
/** A person gives a command so often while everything runs. */
const commandEveryMs = 250;

interface Fleet {
  readonly client: Client;
  readonly database: Database;
  readonly migrations: readonly { readonly id: string; readonly kind: MigrationKind; readonly members: string[] }[];
  /** Processor seconds of the workflows' workers so far, the killed one included. */
  readonly workflowCpuSeconds: () => number;
  readonly killWorkflows: () => void;
}

export async function measureFleet(bench: Bench): Promise<SuiteResult> {
  const vms = bench.quick ? 60 : 1000;
  const rounds: Round[] = [];
  for (let round = 0; round < Math.min(bench.rounds, 1); round++) rounds.push(await runFleet(bench, vms));
  const each = (pick: (result: Round) => number): number[] => rounds.map(pick);
  return {
    figures: [
      atMost(
        'workflow CPU per VM for a whole migration',
        each((r) => r.cpuMsPerVm),
        150,
        'ms',
      ),
      atMost(
        'events of the history per VM',
        each((r) => r.eventsPerVm),
        250,
        '',
      ),
      atMost(
        'an operator is answered, p99, while all run',
        each((r) => r.answerMsP99),
        500,
        'ms',
      ),
      always(
        'every VM completes, with a worker killed in the middle',
        rounds.map((r) => r.completed === vms),
      ),
      published(
        'from start to the end of the last',
        each((r) => r.seconds),
        's',
      ),
    ],
    cells: [],
    plots: [],
    notes: [
      `${vms} VMs: groups of ${groupSize} and queues of ${queueSize}, ${queueConcurrency} at once; vCenters and replicators are simulated by waiting. One round.`,
    ],
  };
}

interface Round {
  readonly cpuMsPerVm: number;
  readonly eventsPerVm: number;
  readonly answerMsP99: number;
  readonly completed: number;
  readonly seconds: number;
}

async function runFleet(bench: Bench, vms: number): Promise<Round> {
  const scratch = bench.folder('fleet');
  const parts: Part[] = [];
  try {
    const fleet = await startFleet(scratch, parts, vms);
    const begunMs = performance.now();
    for (const { id, kind } of fleet.migrations) await startMigration(fleet.client, id, kind);
    const answersMs: number[] = [];
    let killed = false;
    for (let ended = 0; ended < vms; ended = await countEnded(fleet.database)) {
      bench.say(`${ended} of ${vms} have ended`);
      if (!killed && ended > vms / 4) {
        fleet.killWorkflows();
        killed = true;
      }
      await finishReadyGroups(fleet);
      for (let command = 0; command < 8; command++) {
        answersMs.push(await askSomething(fleet));
        await sleep(commandEveryMs);
      }
    }
    const seconds = (performance.now() - begunMs) / 1000;
    const cpuMsPerVm = (fleet.workflowCpuSeconds() * 1000) / vms;
    const eventsPerVm = await meanEvents(fleet);
    const completed = await fleet.database.prisma.vmMigration.count({ where: { status: 'Completed' } });
    await fleet.database.close();
    return { cpuMsPerVm, eventsPerVm, answerMsP99: quantile(answersMs, 0.99), completed, seconds };
  } finally {
    for (const part of parts.reverse()) await part.stop();
    scratch.drop();
  }
}

async function startFleet(scratch: Scratch, parts: Part[], vms: number): Promise<Fleet> {
  const hooks = { say: (line: string) => process.stderr.write(`${line}\n`), started: () => undefined };
  const postgres = preparePostgres({
    dataFolder: scratch.file('postgres'),
    passwordFile: scratch.file('password'),
    logFile: scratch.file('postgres.log'),
    port: await freePort(),
  });
  const temporal = prepareTemporal({
    cli: await findTemporalCli(process.env),
    dataFolder: scratch.file('temporal'),
    logFile: scratch.file('temporal.log'),
    port: await freePort(),
  });
  for (const { spec } of [postgres, temporal]) {
    const part = supervise(spec, hooks);
    parts.push(part);
    await part.firstReady;
  }
  await ensureDatabase(postgres, 'fleet');
  await migrate(postgres.urlOf('fleet'));
  await prepareNamespace(temporal.address, searchAttributes, { embedded: true });
  const keysFile = scratch.file('payload-keys.json');
  const keys = await openPayloadKeys(keysFile);
  const pids: number[] = [];
  let pastCpuSeconds = 0;
  const worker = async (role: 'workflows' | 'activities'): Promise<void> => {
    const part = supervise(
      {
        name: role,
        command: [process.execPath, ...process.execArgv, workerFile, role],
        env: {
          ...process.env,
          TEMPORAL_ADDRESS: temporal.address,
          DATABASE_URL: postgres.urlOf('fleet'),
          FLEET_KEYS: keysFile,
        },
        logFile: scratch.file(`${role}.log`),
        stopSignal: 'SIGTERM',
        stopMsMax: 15_000,
        readyMsMax: 60_000,
      },
      { ...hooks, started: (pid) => role === 'workflows' && pids.push(pid) },
    );
    parts.push(part);
    await part.firstReady;
  };
  await Promise.all([worker('workflows'), worker('activities')]);
  const database = openDatabase(postgres.urlOf('fleet'));
  const connection = await Connection.connect({ address: temporal.address });
  return {
    client: new Client({ connection, dataConverter: encryptingConverter(keys) }),
    database,
    migrations: await fillRecords(database, vms),
    workflowCpuSeconds: () => pastCpuSeconds + cpuSecondsOf(pids.at(-1) ?? 0),
    killWorkflows: () => {
      const pid = pids.at(-1) ?? 0;
      pastCpuSeconds += cpuSecondsOf(pid);
      process.kill(pid, 'SIGKILL');
    },
  };
}

async function fillRecords(database: Database, vms: number): Promise<Fleet['migrations']> {
  await setCapacities(database.prisma, { total: vms, host: vms, datastore: vms, link: vms });
  const sealing = sealingKey(Buffer.alloc(32, 1));
  const site = (name: string): Promise<Site> =>
    insertSite(database.prisma, sealing, {
      name,
      address: `${name}.example`,
      username: 'bench',
      password: 'not-used',
      thumbprintSha256: Array<string>(32).fill('5A').join(':'),
      instanceUuid: randomUUID(),
      apiVersion: '8.0.3.0',
      productName: 'simulated',
    });
  const [from, to] = [await site('from'), await site('to')];
  const made: { id: string; kind: MigrationKind; members: string[] }[] = [];
  for (let done = 0; done < vms;) {
    const kind: MigrationKind = made.length % 3 === 0 ? 'independent' : 'group';
    const size = Math.min(kind === 'group' ? groupSize : queueSize, vms - done);
    const row = await database.transaction((db) =>
      createMigration(db, {
        kind,
        final: kind === 'group' ? manualFinal : autoFinal,
        concurrency: kind === 'group' ? groupSize : queueConcurrency,
        requestedBy: 'bench',
        destination: { siteId: to.id, clusterMoref: 'domain-c1', datastoreMoref: 'datastore-1', networks: [] },
        members: Array.from({ length: size }, (_, index) => ({
          sourceSiteId: from.id,
          vmMoref: `vm-${done + index}`,
          vmInstanceUuid: randomUUID(),
          vmName: `vm-${done + index}`,
          sourceHostMoref: `host-${index % 10}`,
          warnings: [],
          settings: null,
          disks: [],
        })),
      }),
    );
    made.push({ id: row.id, kind, members: row.vmMigrations.map(({ id }) => id) });
    done += size;
  }
  return made;
}

async function startMigration(client: Client, id: string, kind: MigrationKind): Promise<void> {
  const options = { taskQueue: controlTaskQueue, workflowIdConflictPolicy: 'USE_EXISTING' } as const;
  await client.workflow.start(workflowTypes.admission, { ...options, workflowId: admissionWorkflowId, args: [{}] });
  const type = kind === 'group' ? workflowTypes.groupMigration : workflowTypes.independentMigration;
  await client.workflow.start(type, { ...options, workflowId: id, args: [{ migrationId: id }] });
}

const countEnded = (database: Database): Promise<number> =>
  database.prisma.vmMigration.count({ where: { endedAt: { not: null } } });

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

/** How long one command takes until it is accepted or refused, in milliseconds. */
async function askSomething({ client, migrations }: Fleet): Promise<number> {
  const { members } = migrations[Math.floor(Math.random() * migrations.length)] ?? { members: [] };
  const member = members[Math.floor(Math.random() * members.length)] ?? '';
  const begunMs = performance.now();
  const handle = client.workflow.getHandle(member);
  const accepted = await handle.executeUpdate(pause, { args: [by] }).then(() => true, ignoreRefusal);
  const tookMs = performance.now() - begunMs;
  if (accepted === true) await handle.executeUpdate(resume, { args: [by] }).catch(ignoreRefusal);
  return tookMs;
}

/** A refusal is an answer as well; so is that the workflow has not begun or has ended. */
function ignoreRefusal(error: unknown): void {
  const name = (error as Error).name;
  if (!(error instanceof WorkflowUpdateFailedError) && name !== 'WorkflowNotFoundError') throw error;
}

async function meanEvents({ client, migrations }: Fleet): Promise<number> {
  const members = migrations.flatMap((migration) => migration.members);
  const looked = members.filter((_, index) => index % Math.ceil(members.length / 50) === 0);
  const lengths = await Promise.all(
    looked.map(async (id) => (await client.workflow.getHandle(id).describe()).historyLength),
  );
  return lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
}
