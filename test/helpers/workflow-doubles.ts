/**
 * Activity doubles for workflow tests: they keep a log of calls and a set of what exists, and can be told to
 * fail, before or after their effect. No server but Temporal's is involved.
 */
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Context } from '@temporalio/activity';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker, bundleWorkflowCode } from '@temporalio/worker';
import type {
  AllActivities,
  GroupFacts,
  Leftover,
  MigrationNote,
  PhaseNote,
  Standing,
  VmMigrationFacts,
} from '../../contracts/activities.ts';
import { notingFirst } from '../../activities/noting-first.ts';
import { send } from '../../activities/send.ts';
import type { TokenClaim } from '../../contracts/workflows.ts';
import {
  MigrationError,
  emptyRunbook,
  type ErrorCode,
  type Runbook,
  type Tokens,
  type Waiting,
} from '../../core/index.ts';
import { admissionWorkflowId, toApplicationFailure, workflowTypes } from '../../temporal/index.ts';
import { plainActivities } from './plain-activities.ts';

type Name = keyof AllActivities;

interface Trouble {
  readonly code: ErrorCode;
  readonly afterEffect: boolean;
  times: number;
}

export interface Doubles {
  readonly activities: AllActivities;
  /** Names of effects in the order in which they happened; records are left out. */
  readonly calls: Name[];
  readonly phases: PhaseNote[];
  /** What the effects made and no undo has removed. */
  readonly exists: Set<string>;
  readonly dials: unknown[];
  /** What people changed with retries. */
  readonly changes: unknown[];
  facts: { powersOn: boolean };
  /** Where the records say that it stood when its workflow was ended from outside. */
  standing: Standing;
  /** What the source says of its disks. */
  owner: 'source' | 'destination';
  /** What the records say of a whole migration, for a queue or a group that begins. */
  standsPaused: boolean;
  /** Members of a group in their final migration, by the records. */
  inFinal: GroupFacts['inFinal'];
  /** What the records say is held. */
  leases: readonly TokenClaim[];
  queue: readonly string[];
  /** Members that run at once in a queue or a group. */
  concurrency: number;
  runbook: Runbook;
  capacities: Tokens;
  /** What each claims. */
  needs: Tokens;
  /** The site that steps have to wait for. */
  pausedSite: string | null;
  readonly paused: boolean[];
  /** What people were told that claims wait for. */
  readonly admission: (readonly Waiting[])[];
  readonly migrationNotes: MigrationNote[];
  leftovers: readonly Leftover[];
  /** While false, supervisors do not report readiness. */
  ready: boolean;
  /** Calls of this name wait until the returned function is called. */
  hold(name: Name): () => void;
  fail(name: Name, code: ErrorCode, options?: { afterEffect?: boolean; times?: number }): void;
}

/** What each effect makes, and what each undo removes. */
const makes: Partial<Record<Name, string>> = {
  createTargetDisks: 'disks',
  uploadConfigurationIso: 'folder',
  createShadowVm: 'vm',
  enrolShadowVm: 'agent',
  attachStoragePolicy: 'policy',
  freezeReplication: 'freeze',
};
const removes: Partial<Record<Name, readonly string[]>> = {
  deleteTargetDisks: ['disks'],
  deleteConfigurationIso: ['folder'],
  destroyShadowVm: ['vm'],
  forgetShadowVm: ['agent'],
  detachStoragePolicy: ['policy'],
  stopReplication: ['job', 'freeze'],
  removeShadowVm: ['vm', 'folder', 'agent'],
  releaseSource: ['job', 'freeze', 'policy'],
  unfreezeReplication: ['freeze'],
  // The disks belong to the user's VM from here on.
  createFinalVm: ['disks'],
};

export function makeDoubles(): Doubles {
  const troubles = new Map<Name, Trouble>();
  const holds = new Map<Name, Promise<void>>();
  const doubles: Doubles = {
    activities: {} as AllActivities,
    calls: [],
    phases: [],
    exists: new Set(),
    dials: [],
    changes: [],
    facts: { powersOn: true },
    standing: { step: 'queued', ended: null, handedOver: false },
    owner: 'source',
    standsPaused: false,
    inFinal: [],
    leases: [],
    queue: [],
    concurrency: 1,
    runbook: emptyRunbook,
    capacities: {},
    needs: { total: 1 },
    pausedSite: null,
    paused: [],
    admission: [],
    migrationNotes: [],
    leftovers: [],
    ready: true,
    hold(name) {
      let release = (): void => undefined;
      holds.set(name, new Promise((resolve) => (release = resolve)));
      return release;
    },
    fail(name, code, { afterEffect = false, times = 1 } = {}) {
      troubles.set(name, { code, afterEffect, times });
    },
  };
  function stumble(name: Name, afterEffect: boolean): void {
    const trouble = troubles.get(name);
    if (trouble === undefined || trouble.afterEffect !== afterEffect || trouble.times === 0) return;
    trouble.times -= 1;
    throw toApplicationFailure(new MigrationError(trouble.code));
  }
  async function effect<T>(name: Name, result: T): Promise<T> {
    await holds.get(name);
    stumble(name, false);
    doubles.calls.push(name);
    if (makes[name] !== undefined) doubles.exists.add(makes[name]);
    for (const gone of removes[name] ?? []) doubles.exists.delete(gone);
    stumble(name, true);
    return result;
  }
  const simple = (name: Name) => () => effect(name, undefined);
  const facts = (): VmMigrationFacts => ({
    migrationId: 'mig_test',
    vmName: 'app-01',
    vmInstanceUuid: '5021d2a4-0000-4000-8000-000000000001',
    sourceSiteId: 'site_a',
    destinationSiteId: 'site_b',
    needs: doubles.needs,
    priority: 3,
    place: { clusterMoref: 'domain-c1', datastoreMoref: 'datastore-1' },
    powersOn: doubles.facts.powersOn,
    standing: doubles.standing,
  });
  Object.assign(doubles.activities, {
    ...Object.fromEntries(plainActivities.map((name) => [name, simple(name)])),
    readVmMigration: async () => facts(),
    claimAdmission: async ({ vmMigrationId: id }) => {
      const known = await doubles.activities.readVmMigration({ vmMigrationId: id });
      const { needs, priority, migrationId: owner } = known;
      const message = { workflowId: admissionWorkflowId, signal: 'claimTokens' };
      return { facts: known, heard: await send({ ...message, args: [{ id, needs, priority, owner }] }) };
    },
    stopSourceVm: async () => {
      await effect('stopSourceVm', undefined);
      return { facts: facts(), token: 7 };
    },
    notePhase: async (note) => {
      doubles.phases.push(note);
      return { pausedSite: note.mayWait === true ? doubles.pausedSite : null };
    },
    noteApproval: async () => undefined,
    readQueue: async () => ({
      waiting: doubles.queue,
      held: [],
      paused: doubles.standsPaused,
      concurrency: doubles.concurrency,
      failed: [],
    }),
    noteQueue: async () => undefined,
    readGroup: async () => ({
      members: doubles.queue.map((id) => ({ id, name: id.slice(-4), status: 'Queued', decision: null }) as const),
      failed: [],
      paused: doubles.standsPaused,
      inFinal: doubles.inFinal,
      needs: Object.fromEntries(doubles.queue.map((id) => [id, doubles.needs])),
      priority: 3,
      concurrency: doubles.concurrency,
      runbook: doubles.runbook,
      stopTimeoutSeconds: 5,
    }),
    noteMigration: async (note) => void doubles.migrationNotes.push(note),
    noteChangedPlan: async (plan) => {
      doubles.changes.push(plan);
      return effect('noteChangedPlan', undefined);
    },
    notePaused: async ({ paused }) => void doubles.paused.push(paused),
    noteDecision: async () => undefined,
    noteAdmission: async ({ waiting }) => void doubles.admission.push(waiting),
    findDeadClaims: async () => [],
    findOrphans: async () => [],
    findStrayMigrations: async () => [],
    findLeftovers: async () => doubles.leftovers,
    adoptOrphan: async () => true,
    restartMigration: async () => true,
    noteRepair: async () => undefined,
    readCapacities: async () => doubles.capacities,
    readLeases: async () => doubles.leases,
    settleOwner: () => effect('settleOwner', doubles.owner),
    waitForFinalGuest: () => effect('waitForFinalGuest', true),
    changeDials: async ({ dials }) => {
      doubles.dials.push(dials);
      return effect('changeDials', undefined);
    },
    prepareCluster: () => effect('prepareCluster', ['host-1', 'host-2']),
    finishClusterSetup: async ({ failure }) => effect('finishClusterSetup', void doubles.dials.push(failure)),
    superviseReplication: async ({ until }) => {
      // Before it is held: one that was let go of begins nothing any more.
      doubles.exists.add('job');
      await effect('superviseReplication', undefined);
      for (;;) {
        if (until === 'ready' && doubles.ready) return { outcome: 'ready' };
        if (until !== 'ready' && !doubles.ready) return { outcome: 'not-ready' };
        if (until === 'final' && doubles.facts.powersOn) return { outcome: 'final' };
        Context.current().heartbeat();
        await Context.current().sleep(20);
      }
    },
  } satisfies Partial<AllActivities>);
  Object.assign(doubles.activities, notingFirst(doubles.activities));
  return doubles;
}

export interface WorkflowBench {
  readonly client: Client;
  /** Runs `work` with a worker on a queue of its own. */
  run<T>(doubles: Doubles, work: (bench: RunningBench) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

export interface RunningBench {
  readonly client: Client;
  readonly taskQueue: string;
  start(workflowType: string, input: object, workflowId?: string): Promise<WorkflowHandle>;
}

export async function openBench(address: string): Promise<WorkflowBench> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const workflowsPath = fileURLToPath(new URL('../../workflows/index.ts', import.meta.url));
  const workflowBundle = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('ERROR') });
  const [connection, native] = [await Connection.connect({ address }), await NativeConnection.connect({ address })];
  const client = new Client({ connection });
  return {
    client,
    async run(doubles, work) {
      const taskQueue = `test-${randomUUID()}`;
      const { activities } = doubles;
      const options = { connection: native, taskQueue, workflowBundle, activities, maxHeartbeatThrottleInterval: 20 };
      const worker = await Worker.create(options);
      const admission = await client.workflow.start(workflowTypes.admission, {
        taskQueue,
        workflowId: admissionWorkflowId,
        workflowIdConflictPolicy: 'TERMINATE_EXISTING',
        args: [{}],
      });
      return worker.runUntil(
        work({
          client,
          taskQueue,
          start: (workflowType, input, workflowId = `vmm_${randomUUID()}`) =>
            client.workflow.start(workflowType, {
              taskQueue,
              workflowId,
              args: [{ vmMigrationId: workflowId, ...input }],
            }),
        }).finally(() => admission.terminate()),
      );
    },
    async close() {
      await connection.close();
      await native.close();
    },
  };
}

/** Patience of a machine that does ten other things; a test that waits in vain still says for what before its own 60 s end. */
const untilMsMax = 50_000;

/** Waits until something holds; fails with what it was. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const endsAtMs = Date.now() + untilMsMax;
  while (!holds()) {
    if (Date.now() > endsAtMs) throw new Error(`Waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
