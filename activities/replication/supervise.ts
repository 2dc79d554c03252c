/**
 * Follows a replication job at every change and once a second: writes progress, keeps the dials as wanted, signs certificates,
 * finds the job again after any loss. The job itself runs without it; when it ends, the job goes on.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ReplicationActivities, SuperviseResult, SuperviseUntil } from '../../contracts/activities.ts';
import {
  MigrationError,
  errorCodes,
  failureNote,
  hasCode,
  isRetryable,
  limits,
  siteToResume,
  type ErrorCode,
  type FinalDecision,
  type Reason,
} from '../../core/index.ts';
import type { ControlClient, JobStatus } from '../../dataplane/client/index.ts';
import { setPhase, takeLease } from '../../db/index.ts';
import { callOptions, cancellationSignal } from '../call-options.ts';
import { readPlan } from '../plan.ts';
import type { Services } from '../services.ts';
import { ensureJob, signIfAsked } from './ensure-job.ts';
import { watchJob, type JobWatch } from './job-watch.ts';
import { watchOutlook } from './outlook.ts';
import { normalDials, sameDials } from './progress.ts';
import { openProgressWriter, type ProgressWriter } from './report.ts';
import { findSourceAgent, isUnknownJob, openAgent } from './source-agent.ts';
import { watchSourceVm, type SourceWatch } from './source-watch.ts';

type SuperviseInput = Parameters<ReplicationActivities['superviseReplication']>[0];

/** What one supervisor holds while it is attached. */
interface Attachment {
  readonly client: ControlClient;
  readonly generation: number;
  readonly job: JobWatch;
  readonly write: ProgressWriter;
}

/** What is asked at each look besides the job itself. */
interface Lookouts {
  readonly source: SourceWatch;
  readonly outlook: ReturnType<typeof watchOutlook>;
  readonly reporter: Reporter;
}

/** Between two looks, however often the job changes. */
const pauseMs = 50;

/** After so many failed looks the VM may be elsewhere: find its host anew. */
const failedLooksMax = 5;

export async function superviseReplication(services: Services, input: SuperviseInput): Promise<SuperviseResult> {
  const endsAtMs = Date.now() + input.detachAfterSeconds * 1000;
  const reporter = makeReporter(services, input);
  const lookouts: Lookouts = {
    source: watchSourceVm(services, input.vmMigrationId),
    outlook: watchOutlook(services, input.vmMigrationId),
    reporter,
  };
  let attachment: Attachment | undefined;
  let failedLooks = 0;
  try {
    while (Date.now() < endsAtMs) {
      let restMs = pauseMs;
      try {
        attachment ??= await attach(services, input.vmMigrationId);
        const result = await look(services, input, attachment, lookouts);
        if (result !== null) return result;
        failedLooks = 0;
      } catch (error) {
        cancellationSignal().throwIfAborted();
        if (!isPassing(error)) throw error;
        failedLooks += 1;
        restMs = limits.supervisePollMs;
        const lost = await reporter.trouble(error);
        if (lost && input.until !== 'ready') return { outcome: 'not-ready' };
        if (isUnknownJob(error) || hasCode(error, 'STALE_GENERATION') || failedLooks >= failedLooksMax) {
          await detach(attachment);
          attachment = undefined;
          failedLooks = 0;
        }
      }
      await sleep(restMs, undefined, { signal: cancellationSignal() });
    }
    return { outcome: 'detached' };
  } finally {
    await detach(attachment);
  }
}

async function detach(attachment: Attachment | undefined): Promise<void> {
  attachment?.job.close();
  await attachment?.client.close();
}

/** A new lease, so that whoever supervised before cannot command any more. */
async function attach(services: Services, vmMigrationId: string): Promise<Attachment> {
  const generation = await takeLease(services.database.prisma, vmMigrationId);
  const plan = await readPlan(services, vmMigrationId);
  const client = await openAgent(services, await findSourceAgent(services, plan));
  try {
    await ensureJob(services, client, plan, generation);
    const write = await openProgressWriter(services, vmMigrationId);
    return { client, generation, write, job: watchJob(client, vmMigrationId) };
  } catch (error) {
    await client.close();
    throw error;
  }
}

async function look(
  services: Services,
  { vmMigrationId, until }: SuperviseInput,
  attachment: Attachment,
  { source, outlook, reporter }: Lookouts,
): Promise<SuperviseResult | null> {
  const { client, generation, job } = attachment;
  const seen = await job.next(callOptions().signal);
  if (seen.generation > generation) {
    throw new MigrationError('STALE_GENERATION', 'Another supervisor follows this job now');
  }
  const status = await signIfAsked(services, client, vmMigrationId, generation, seen);
  const desired = await attachment.write(status);
  if (desired !== null && !sameDials(desired, normalDials(status.dials))) {
    await client.setDials(vmMigrationId, generation, desired, callOptions());
  }
  if (status.state === 'failed' && !isBackLater(status)) return failedResult(status);
  const change = await source.look();
  if (change !== null) return { outcome: 'aborted', failure: change };
  const { wishes, decision } = await outlook(status);
  const { paused, pausedSite } = wishes;
  await pauseAsWanted(attachment, vmMigrationId, status, paused || pausedSite !== null);
  await reporter.say(status, pausedSite);
  const onSite = pausedSite === null ? decision : untilResumed(pausedSite);
  if (until === 'final') await reporter.waitsFor(onSite);
  return reached(status, until, onSite.begin && !paused);
}

function untilResumed(site: string): FinalDecision {
  return { begin: false, waitingFor: siteToResume(site) };
}

/** The wish stands in the records; a source that was started anew is told again. */
async function pauseAsWanted(
  { client, generation }: Attachment,
  vmMigrationId: string,
  { state }: JobStatus,
  wanted: boolean,
): Promise<void> {
  if (wanted === (state === 'paused')) return;
  if (wanted) await client.pause(vmMigrationId, generation, callOptions());
  else await client.resume(vmMigrationId, generation, callOptions());
}

function reached(status: JobStatus, until: SuperviseUntil, begin: boolean): SuperviseResult | null {
  const { ready } = status.ready;
  if (until === 'ready') return ready ? { outcome: 'ready' } : null;
  if (!ready) return { outcome: 'not-ready' };
  return until === 'final' && begin ? { outcome: 'final' } : null;
}

/** Its datastore may only be slow to come back; whether the disk was deleted says the vCenter. */
function isBackLater(status: JobStatus): boolean {
  return status.reason?.code === 'DISK_REMOVED';
}

/** Product rows V4, V6. */
const diskChanges: readonly string[] = ['DISK_CHANGED', 'DISK_REPLACED', 'DISK_RESIZED'];

function failedResult(status: JobStatus): SuperviseResult {
  const message = status.reason?.message ?? 'The replicator gave no reason';
  if (diskChanges.includes(status.reason?.code ?? '')) {
    return { outcome: 'aborted', failure: failureNote(new MigrationError('SOURCE_DISK_CHANGED', message)) };
  }
  throw new MigrationError('REPLICATION_FAILED', message);
}

/** What gets better by itself or after a person has looked: shown, and tried again. */
function isPassing(error: unknown): boolean {
  const passing = ['AGENT_NOT_ENROLLED', 'STALE_GENERATION', 'AGENT_CERTIFICATE_EXPIRED'] as const;
  return isRetryable(error) || hasCode(error, ...passing) || isUnknownJob(error);
}

interface Reporter {
  say(status: JobStatus, pausedSite: string | null): Promise<void>;
  /** What the final migration waits for. */
  waitsFor(decision: FinalDecision): Promise<void>;
  /** Returns whether replication has to be called interrupted. */
  trouble(error: unknown): Promise<boolean>;
}

/** Writes the state only when it changes. What the workflow says in other phases is never touched. */
function makeReporter(services: Services, { vmMigrationId, until }: SuperviseInput): Reporter {
  const quietLooks = 2;
  let written = '';
  let waited: string | null = null;
  let troubles = 0;
  async function write(reason: Reason | null, waitingFor = reason?.message ?? null): Promise<void> {
    const key = reason?.code ?? '';
    if (until !== 'ready' || key === written) return;
    const state = reason === null ? 'Replicating disks' : 'Waiting for data';
    await setPhase(services.database, vmMigrationId, {
      step: 'replicate',
      state,
      reason,
      waitingFor,
      onlyDuring: ['replicate'],
    });
    written = key;
  }
  return {
    async say(status, pausedSite) {
      troubles = 0;
      const paused = status.state === 'paused' && pausedSite !== null;
      await (paused ? write(sitePaused(pausedSite), siteToResume(pausedSite)) : write(reasonOf(status)));
    },
    async waitsFor(decision) {
      const waitingFor = decision.begin ? null : decision.waitingFor;
      if (waitingFor === waited) return;
      const reason = decision.begin || decision.code === undefined ? null : reasonNamed(decision.code);
      await setPhase(services.database, vmMigrationId, { step: 'ready', waitingFor, reason, onlyDuring: ['ready'] });
      waited = waitingFor;
    },
    async trouble(error) {
      troubles += 1;
      if (troubles <= quietLooks) return false;
      const { code, message } = failureNote(error);
      await write({ code, message, since: new Date().toISOString() });
      return true;
    },
  };
}

function sitePaused(name: string): Reason {
  return { code: 'SITE_PAUSED', message: `The site ${name} is paused`, since: new Date().toISOString() };
}

function reasonNamed(code: ErrorCode): Reason {
  const { title, remedy } = errorCodes[code];
  return { code, message: `${title}. ${remedy}`, since: new Date().toISOString() };
}

function reasonOf(status: JobStatus): Reason | null {
  if (status.state === 'running' || status.state === 'comparing') return null;
  const since = new Date().toISOString();
  if (status.reason) return status.reason;
  if (status.state === 'paused') return { code: 'PAUSED', message: 'Replication is paused', since };
  if (status.state === 'interrupted') return { code: 'INTERRUPTED', message: 'The connection is interrupted', since };
  return null;
}
