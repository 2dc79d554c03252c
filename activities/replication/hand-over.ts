/**
 * Freeze, compare, hand over: the moments in which ownership of the disks passes. Every call carries the
 * token and may come again; only a definite answer of the replicator is taken for one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MigrationError } from '../../core/index.ts';
import { hasAgentCode, type Handover, type JobStatus } from '../../dataplane/client/index.ts';
import { getVmMigration, setDiskRoots, setFacts } from '../../db/index.ts';
import { callOptions, cancellationSignal } from '../call-options.ts';
import type { Services } from '../services.ts';
import { openProgressWriter, type ProgressWriter } from './report.ts';
import { commandJob, isUnknownJob, type JobCommand } from './source-agent.ts';

const pollMs = 50;
const samplesEveryMs = 1000;
/** A closed VM is told within moments, also after a restart; one that stays open was powered on by somebody. */
const notClosedMsMax = 15_000;

/** Returns when both sides are known to be equal; may be called again, also after the source was started anew. */
export async function freezeReplication(services: Services, vmMigrationId: string, token: number): Promise<void> {
  const write = await openProgressWriter(services, vmMigrationId);
  await commandJob(services, vmMigrationId, async (job) => {
    const status = await compareFrozen(job, token, write);
    await keepRoots(services, vmMigrationId, status.handover);
    if (status.handover.state === 'roots-differ') throw rootsDiffer(status.handover);
  });
}

/** Freezes and follows until the roots of both sides are compared. */
async function compareFrozen(job: JobCommand, token: number, write: ProgressWriter): Promise<JobStatus> {
  const notClosedAfterMs = Date.now() + notClosedMsMax;
  let sampledAtMs = 0;
  for (;;) {
    const status = await frozen(job, token, Date.now() > notClosedAfterMs);
    if (status !== undefined && isCompared(status.handover, token)) {
      await write(status);
      return status;
    }
    if (status !== undefined && Date.now() - sampledAtMs > samplesEveryMs) {
      await write(status);
      sampledAtMs = Date.now();
    }
    await sleep(pollMs, undefined, { signal: cancellationSignal() });
  }
}

/**
 * The freeze as it is now, given (again) where the source does not know it: one that was started anew has forgotten it, and
 * compares its disks before it is ready. Undefined while it has to be waited for.
 */
async function frozen(
  { client, jobId, generation }: JobCommand,
  token: number,
  closedByNow: boolean,
): Promise<JobStatus | undefined> {
  const now = await client.getJob(jobId, callOptions());
  if (now.handover.token === token && now.handover.state !== 'none') return now;
  try {
    return await client.freeze(jobId, generation, token, callOptions());
  } catch (error) {
    // A disk that cannot be flushed cancels the freeze: the next look says so, with the reason.
    if (hasAgentCode(error, 'NOT_READY', 'STORAGE_FAILED')) return undefined;
    if (!hasAgentCode(error, 'NOT_CLOSED')) throw error;
    if (closedByNow) throw new MigrationError('FREEZE_CANCELLED', undefined, { cause: error });
    return undefined;
  }
}

function isCompared({ state, token: held, reason }: Handover, token: number): boolean {
  if (held !== token) return false;
  if (state === 'cancelled' && reason?.code === 'SOURCE_STORAGE_FAILED')
    throw new MigrationError('SOURCE_STORAGE_FAILED', reason.message);
  if (state === 'cancelled') throw new MigrationError('FREEZE_CANCELLED');
  return state === 'roots-equal' || state === 'roots-differ' || state === 'handed-off' || state === 'active';
}

async function keepRoots(services: Services, vmMigrationId: string, handover: Handover): Promise<void> {
  const roots = handover.disks.flatMap(({ sourceUuid, sourceRoot, destinationRoot }) =>
    sourceRoot && destinationRoot ? [{ sourceUuid, sourceRoot, destinationRoot }] : [],
  );
  await setDiskRoots(services.database.prisma, vmMigrationId, roots);
  const frozenAt = handover.frozenAt ? new Date(handover.frozenAt) : new Date();
  await setFacts(services.database.prisma, vmMigrationId, { frozenAt });
}

function rootsDiffer({ disks }: Handover): MigrationError {
  const differing = disks.filter((disk) => !disk.equal).map((disk) => disk.sourceUuid);
  return new MigrationError(
    'ROOTS_DIFFER',
    `Source and destination differ on ${differing.length} of ${disks.length} disks`,
    {
      details: { disks: differing },
    },
  );
}

export async function unfreezeReplication(services: Services, vmMigrationId: string, token: number): Promise<void> {
  try {
    await commandJob(services, vmMigrationId, ({ client, jobId, generation }) =>
      client.unfreeze(jobId, generation, token, callOptions()),
    );
  } catch (error) {
    if (!isUnknownJob(error) && !hasAgentCode(error, 'NOT_FROZEN', 'STALE_TOKEN')) throw error;
  }
}

/** The token was taken before anything was frozen: without one nothing can have been given away. */
export async function settleOwner(services: Services, vmMigrationId: string): Promise<'source' | 'destination'> {
  const { handedOverAt, handOverToken, step } = await getVmMigration(services.database.prisma, vmMigrationId);
  if (handedOverAt !== null) return 'destination';
  if (handOverToken === 0n) return 'source';
  const token = Number(handOverToken);
  const isGiven = await isGivenAway(services, vmMigrationId, token);
  if (isGiven === null && step === 'handOver') {
    throw new MigrationError('AGENT_UNREACHABLE', 'The source does not know the job: who owns the disks is not known');
  }
  if (isGiven !== true) return 'source';
  await handOver(services, vmMigrationId, token);
  return 'destination';
}

/** Whether the source is sealed; if not, it is unfrozen and the token void. Null where the source knows nothing of it. */
async function isGivenAway(services: Services, vmMigrationId: string, token: number): Promise<boolean | null> {
  try {
    return await commandJob(services, vmMigrationId, async ({ client, jobId, generation }) => {
      const { handover } = await client.getJob(jobId, callOptions());
      if (handover.state === 'handed-off' || handover.state === 'active') return true;
      await client.unfreeze(jobId, generation, token, callOptions());
      return false;
    });
  } catch (error) {
    // Sealed between the look and the command.
    if (hasAgentCode(error, 'HANDED_OFF')) return true;
    if (isUnknownJob(error)) return null;
    if (hasAgentCode(error, 'NOT_FROZEN', 'STALE_TOKEN')) return false;
    throw error;
  }
}

export async function handOver(services: Services, vmMigrationId: string, token: number): Promise<void> {
  const write = await openProgressWriter(services, vmMigrationId);
  await commandJob(services, vmMigrationId, async (job) => {
    const status = await tryHandOver(job, token, write);
    const { handover } = status;
    if (handover.state !== 'active') throw new MigrationError('AGENT_UNREACHABLE', 'The hand-over is still under way');
    await setFacts(services.database.prisma, vmMigrationId, {
      handedOverAt: handover.activeAt ? new Date(handover.activeAt) : new Date(),
      dataPathMs: handover.dataPathMs ?? null,
    });
    await write(status);
  });
}

/**
 * Not frozen means one of two things. The source VM was powered on: it is the owner, and that is final. Or the source's
 * replicator was started anew: then it is frozen and compared once more, and handed over.
 */
async function tryHandOver(job: JobCommand, token: number, write: ProgressWriter): Promise<JobStatus> {
  const { client, jobId, generation } = job;
  try {
    return await client.handOver(jobId, generation, token, callOptions());
  } catch (error) {
    if (!hasAgentCode(error, 'NOT_FROZEN')) throw error;
    const again = await compareFrozen(job, token, write);
    if (again.handover.state === 'roots-differ')
      throw new MigrationError('FREEZE_CANCELLED', undefined, { cause: error });
    return client.handOver(jobId, generation, token, callOptions());
  }
}
