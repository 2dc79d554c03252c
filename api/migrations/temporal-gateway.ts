// The workflow gateway over Temporal: starts by domain id, updates that wait for acceptance, refusals as our errors.
// It must not decide whether a command is allowed; the workflow's validator does.
import {
  ScheduleAlreadyRunning,
  WorkflowExecutionAlreadyStartedError,
  WorkflowIdConflictPolicy,
  WorkflowIdReusePolicy,
  WorkflowNotFoundError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
  WorkflowUpdateStage,
  type Client,
  type WorkflowStartOptions,
} from '@temporalio/client';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SignalDefinition, UpdateDefinition } from '@temporalio/common';
import type { CommandAccepted, OperatorCommand } from '../../contracts/workflows.ts';
import { MigrationError, limits } from '../../core/index.ts';
import { connectWorkflowEngine, refusalOf, type WorkflowEngine } from '../../temporal/client.ts';
import type { PayloadKeyring } from '../../temporal/payload-keys.ts';
import {
  admissionWorkflowId,
  clusterSetupWorkflowId,
  controlTaskQueue,
  janitorScheduleId,
  workflowTypes,
} from '../../temporal/index.ts';
import {
  changeCapacities,
  changePriorities,
  changeQueue,
  changeSettings,
  decideMember,
  finalMigration,
  pause,
  resume,
  retry,
  shutDownGuest,
  siteResumed,
  terminate,
} from '../../workflows/messages.ts';
import type { Action, Commander, WorkflowGateway } from './workflow-gateway.ts';

/** Starting and signalling need the server only. */
const serverDeadlineMs = 8_000;
/** An update is judged by a worker, which may be loading the workflow's history first. */
const updateDeadlineMs = 20_000;
const resultWaitMs = 5_000;

/** Runs calls against the server within a time; connects at the first, and again after a failure to connect. */
interface EngineAccess {
  readonly within: <Result>(milliseconds: number, work: (client: Client) => Promise<Result>) => Promise<Result>;
  readonly updateMsMax: number;
  readonly close: () => Promise<void>;
}

export function createTemporalGateway(
  address: string,
  keys: PayloadKeyring,
  { updateMsMax = updateDeadlineMs }: { readonly updateMsMax?: number } = {},
): WorkflowGateway {
  const engine = accessEngine(address, keys, updateMsMax);
  return {
    startMigration: (migrationId, kind) =>
      start(engine, kind === 'group' ? workflowTypes.groupMigration : workflowTypes.independentMigration, {
        workflowId: migrationId,
        args: [{ migrationId }],
        workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
      }),
    async ensureServices() {
      await start(engine, workflowTypes.admission, {
        workflowId: admissionWorkflowId,
        args: [{}],
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
      });
      await engine.within(serverDeadlineMs, ensureJanitor);
    },
    startClusterSetup: ({ id, siteId, moref }) =>
      start(engine, workflowTypes.clusterSetup, {
        workflowId: clusterSetupWorkflowId(siteId, moref),
        args: [{ clusterId: id }],
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
      }),
    changeSettings: (vmMigrationId, dials) => signal(engine, vmMigrationId, changeSettings, dials),
    changeCapacities: (capacities) => signal(engine, admissionWorkflowId, changeCapacities, capacities),
    changePriorities: (priorities) => signal(engine, admissionWorkflowId, changePriorities, priorities),
    siteResumed: (vmMigrationId) => signal(engine, vmMigrationId, siteResumed),
    command: (id, action, by) => update(engine, id, definitionOf[action], by, {}),
    retry: (id, change, by) => update(engine, id, retry, by, { change }),
    decideMember: (migrationId, vmMigrationId, decision, by) =>
      update(engine, migrationId, decideMember, by, { vmMigrationId, decision }),
    changeQueue: (migrationId, change, by) => update(engine, migrationId, changeQueue, by, { change }),
    async ping() {
      await engine.within(2_000, (client) => client.connection.workflowService.getSystemInfo({}));
    },
    close: engine.close,
  };
}

function accessEngine(address: string, keys: PayloadKeyring, updateMsMax: number): EngineAccess {
  let connecting: Promise<WorkflowEngine> | undefined;
  const connected = (): Promise<WorkflowEngine> => {
    connecting ??= connectWorkflowEngine(address, keys).catch((error: unknown) => {
      connecting = undefined;
      throw error;
    });
    return connecting;
  };
  return {
    updateMsMax,
    within: async (milliseconds, work) => {
      const { client } = await connected();
      return client.connection.withDeadline(Date.now() + milliseconds, () => work(client));
    },
    close: async () => {
      await connecting?.then((opened) => opened.close()).catch(() => undefined);
    },
  };
}

/** Its rounds follow each other; a missed one is not made up for, because each looks at everything. */
async function ensureJanitor(client: Client): Promise<void> {
  try {
    await client.schedule.create({
      scheduleId: janitorScheduleId,
      spec: { intervals: [{ every: `${limits.janitorSeconds} seconds` }] },
      policies: { overlap: 'SKIP', catchupWindow: '1 minute', pauseOnFailure: false },
      action: { type: 'startWorkflow', workflowType: workflowTypes.janitor, taskQueue: controlTaskQueue, args: [] },
    });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
  }
}

type StartOptions = Pick<WorkflowStartOptions, 'workflowId' | 'workflowIdReusePolicy'> & { readonly args: unknown[] };

async function start(engine: EngineAccess, workflowType: string, options: StartOptions): Promise<void> {
  const workflowIdConflictPolicy = WorkflowIdConflictPolicy.USE_EXISTING;
  try {
    await engine.within(serverDeadlineMs, (client) =>
      client.workflow.start(workflowType, { ...options, taskQueue: controlTaskQueue, workflowIdConflictPolicy }),
    );
  } catch (error) {
    // It ran before and must not run again.
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}

/** Who does not run any more hears nothing. */
async function signal<Words extends [unknown?]>(
  engine: EngineAccess,
  workflowId: string,
  definition: SignalDefinition<Words>,
  ...words: Words
): Promise<void> {
  try {
    await engine.within(serverDeadlineMs, (client) =>
      client.workflow.getHandle(workflowId).signal(definition, ...words),
    );
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  }
}

async function update<Words extends OperatorCommand>(
  engine: EngineAccess,
  workflowId: string,
  definition: UpdateDefinition<CommandAccepted, [Words]>,
  { principalId, claimId }: Commander,
  words: Omit<Words, 'requestedBy'>,
): Promise<void> {
  try {
    await engine.within(engine.updateMsMax, async (client) => {
      const args = [{ ...words, requestedBy: principalId }] as [Words];
      const once = claimId === null ? {} : { updateId: claimId };
      const options = { args, waitForStage: WorkflowUpdateStage.ACCEPTED, ...once } as const;
      const handle = await client.workflow.getHandle(workflowId).startUpdate(definition, options);
      // A refusal comes as the result, and at once; what is accepted may take its time.
      await Promise.race([handle.result(), sleep(resultWaitMs, undefined, { ref: false })]);
    });
  } catch (error) {
    throw refusalOf(error) ?? notRunning(error, workflowId) ?? unanswered(error) ?? error;
  }
}

const definitionOf: Readonly<Record<Action, UpdateDefinition<CommandAccepted, [OperatorCommand]>>> = {
  'final-migration': finalMigration,
  terminate,
  'shut-down-guest': shutDownGuest,
  pause,
  resume,
};

/** The engine has the command, but no worker took it in time; it may still be carried out. */
function unanswered(error: unknown): MigrationError | null {
  if (!(error instanceof WorkflowUpdateRPCTimeoutOrCancelledError)) return null;
  return new MigrationError('WORKFLOW_ENGINE_UNAVAILABLE', 'No worker has answered in time', {
    remedy: 'Check that a worker runs, look at what became of the command, and give it again.',
  });
}

function notRunning(error: unknown, workflowId: string): MigrationError | null {
  if (!(error instanceof WorkflowNotFoundError)) return null;
  return new MigrationError('PHASE_DISALLOWS', `${workflowId} is not running: it has not begun, or it has ended.`);
}
