/**
 * Freeze, compare, hand over: the moments in which ownership of the disks passes. Every call carries the
 * token and may come again; only a definite answer of the replicator is taken for one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { MigrationError } from '../../core/index.ts';
import { hasAgentCode, type Handover, type JobStatus } from '../../dataplane/client/index.ts';
import { setDiskRoots, setFacts, takeHandOverToken } from '../../db/index.ts';
import { callOptions, cancellationSignal } from '../call-options.ts';
import type { Services } from '../services.ts';
import { openProgressWriter } from './report.ts';
import { commandJob, isUnknownJob, type JobCommand } from './source-agent.ts';

const pollMs = 50;
const samplesEveryMs = 1000;

export async function takeToken(services: Services, vmMigrationId: string): Promise<number> {
  return Number(await takeHandOverToken(services.database.prisma, vmMigrationId));
}

export async function freezeReplication(services: Services, vmMigrationId: string, token: number): Promise<void> {
  const write = await openProgressWriter(services, vmMigrationId);
  await commandJob(services, vmMigrationId, async (job) => {
    let status = await freeze(job, token);
    let sampledAtMs = 0;
    while (!isCompared(status.handover, token)) {
      if (Date.now() - sampledAtMs > samplesEveryMs) {
        await write(status);
        sampledAtMs = Date.now();
      }
      await sleep(pollMs, undefined, { signal: cancellationSignal() });
      status = await job.client.getJob(job.jobId, callOptions());
    }
    await write(status);
    await keepRoots(services, vmMigrationId, status.handover);
    if (status.handover.state === 'roots-differ') throw rootsDiffer(status.handover);
  });
}

/** An earlier try may have frozen already: then the freeze is not given again, it is followed. */
async function freeze({ client, jobId, generation }: JobCommand, token: number): Promise<JobStatus> {
  const now = await client.getJob(jobId, callOptions());
  if (now.handover.token === token && now.handover.state !== 'none') return now;
  return client.freeze(jobId, generation, token, callOptions());
}

function isCompared({ state, token: held }: Handover, token: number): boolean {
  if (held !== token) return false;
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

export async function handOver(services: Services, vmMigrationId: string, token: number): Promise<void> {
  await commandJob(services, vmMigrationId, async (job) => {
    const status = await tryHandOver(job, token);
    const { handover } = status;
    if (handover.state !== 'active') throw new MigrationError('AGENT_UNREACHABLE', 'The hand-over is still under way');
    await setFacts(services.database.prisma, vmMigrationId, {
      handedOverAt: handover.activeAt ? new Date(handover.activeAt) : new Date(),
      dataPathMs: handover.dataPathMs ?? null,
    });
    await (
      await openProgressWriter(services, vmMigrationId)
    )(status);
  });
}

/** A refusal because nothing is frozen is final: the source was powered on before and is the owner. */
async function tryHandOver({ client, jobId, generation }: JobCommand, token: number): Promise<JobStatus> {
  try {
    return await client.handOver(jobId, generation, token, callOptions());
  } catch (error) {
    if (hasAgentCode(error, 'NOT_FROZEN')) throw new MigrationError('FREEZE_CANCELLED', undefined, { cause: error });
    throw error;
  }
}
