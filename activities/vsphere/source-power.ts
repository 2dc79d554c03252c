/** Stops the source VM the way its guest likes it, within the time and by the policy of the migration. */
import type { BegunFinal } from '../../contracts/activities.ts';
import { MigrationError, hasCode } from '../../core/index.ts';
import { setFacts } from '../../db/index.ts';
import {
  isFault,
  powerOffVm,
  readPowerState,
  shutDownGuest,
  waitForPowerState,
  type VsphereSession,
} from '../../vsphere/index.ts';
import { callOptions } from '../call-options.ts';
import { readPlan, type Plan } from '../plan.ts';
import { beginFinal } from '../records/facts.ts';
import type { Services } from '../services.ts';

export async function requestGuestShutDown(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const session = await services.session(plan.details.sourceSiteId);
  if ((await readPowerState(session, plan.sourceVm)) === 'poweredOff') return;
  await noteStopRequest(services, plan);
  await shutDownGuest(session, plan.sourceVm);
}

/** Begins the final migration and stops the source. Throws SHUT_DOWN_TIMEOUT where the policy says to give up. */
export async function stopSourceVm(
  services: Services,
  vmMigrationId: string,
  approvedBy: string | undefined,
): Promise<BegunFinal> {
  const begun = await beginFinal(services.database, vmMigrationId, approvedBy);
  const plan = await readPlan(services, vmMigrationId);
  const session = await services.session(plan.details.sourceSiteId);
  if ((await readPowerState(session, plan.sourceVm)) !== 'poweredOff') {
    await noteStopRequest(services, plan);
    // Before the stop: whoever gives the final up later has to know that it was running.
    await setFacts(services.database.prisma, vmMigrationId, { stoppedByUs: true });
    await stop(session, plan);
    await setFacts(services.database.prisma, vmMigrationId, { poweredOffAt: new Date() });
  } else if (plan.details.poweredOffAt === null) {
    await noteStopRequest(services, plan);
    await setFacts(services.database.prisma, vmMigrationId, { poweredOffAt: new Date() });
  }
  return begun;
}

async function stop(session: VsphereSession, plan: Plan): Promise<void> {
  const { timeoutSeconds, onTimeout } = plan.options.shutDown;
  for (;;) {
    await tryShutDown(session, plan);
    try {
      const wait = { timeoutMs: timeoutSeconds * 1000, ...callOptions() };
      await waitForPowerState(session, plan.sourceVm, 'poweredOff', wait);
      return;
    } catch (error) {
      if (!hasCode(error, 'VSPHERE_TIMEOUT')) throw error;
    }
    if (onTimeout === 'power-off') return powerOffVm(session, plan.sourceVm, callOptions());
    if (onTimeout === 'give-up') {
      throw new MigrationError('SHUT_DOWN_TIMEOUT', `The guest did not shut down within ${timeoutSeconds} s`);
    }
  }
}

/** Without VMware Tools nobody hears the request: the time limit and the policy decide then. */
async function tryShutDown(session: VsphereSession, plan: Plan): Promise<void> {
  try {
    await shutDownGuest(session, plan.sourceVm);
  } catch (error) {
    if (!isFault(error, 'ToolsUnavailable', 'InvalidState')) throw error;
  }
}

/** The downtime begins here. A stop that was followed by a power-on begins a new one. */
async function noteStopRequest(services: Services, { details }: Plan): Promise<void> {
  if (details.stopRequestedAt !== null && details.poweredOffAt === null) return;
  const facts = { stopRequestedAt: new Date(), poweredOffAt: null };
  await setFacts(services.database.prisma, details.id, facts);
}
