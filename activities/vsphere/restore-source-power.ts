/**
 * A final migration was given up: puts the source VM's power back as it found it, and forgets its times, because
 * the next final counts its own downtime. Never after the hand-over, when the destination owns the disks.
 */
import { MigrationError, hasCode, limits } from '../../core/index.ts';
import { setFacts } from '../../db/index.ts';
import { isFault, powerOnVm, waitForPowerState, type VsphereSession } from '../../vsphere/index.ts';
import { callOptions } from '../call-options.ts';
import { readPlan, type Plan } from '../plan.ts';
import type { Services } from '../services.ts';

export async function restoreSourcePower(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const { stoppedByUs, handedOverAt, sourceSiteId } = plan.details;
  if (handedOverAt !== null) throw new MigrationError('DISK_SEALED', 'The destination owns the disks of this VM');
  if (stoppedByUs) await bringBack(await services.session(sourceSiteId), plan);
  const facts = { stoppedByUs: false, stopRequestedAt: null, poweredOffAt: null, frozenAt: null };
  await setFacts(services.database.prisma, vmMigrationId, facts);
}

async function bringBack(session: VsphereSession, plan: Plan): Promise<void> {
  try {
    if (plan.details.poweredOffAt === null) await waitForLateShutDown(session, plan);
    await powerOnVm(session, plan.sourceVm, callOptions());
  } catch (error) {
    if (!isFault(error, 'ManagedObjectNotFound')) throw error;
  }
}

/** A guest that was asked to shut down may still be about to: it is powered on after that, not before. */
async function waitForLateShutDown(session: VsphereSession, plan: Plan): Promise<void> {
  try {
    const wait = { timeoutMs: limits.lateShutDownSeconds * 1000, ...callOptions() };
    await waitForPowerState(session, plan.sourceVm, 'poweredOff', wait);
  } catch (error) {
    // It stays on.
    if (!hasCode(error, 'VSPHERE_TIMEOUT')) throw error;
  }
}
