/** Marks the source VM as migrated, for people: a note and a custom attribute. It stays, off; deleting it is its owner's business. */
import { getSite } from '../../db/index.ts';
import { isFault, markVm, readVmConfig, reconfigureVm } from '../../vsphere/index.ts';
import { callOptions } from '../call-options.ts';
import { readPlan } from '../plan.ts';
import type { Services } from '../services.ts';

const attribute = 'Landfall';

export async function markSourceVm(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const { details } = plan;
  const session = await services.session(details.sourceSiteId);
  const site = await getSite(services.database.prisma, details.destinationSiteId);
  const when = (details.handedOverAt ?? new Date()).toISOString();
  const mark = `Migrated to ${details.finalVmName ?? details.vmName} at ${site.name}, ${when}`;
  try {
    const { annotation = '' } = await readVmConfig(session, plan.sourceVm);
    if (!annotation.includes(vmMigrationId)) {
      const note = `${mark}. Leave this VM powered off. (Landfall ${vmMigrationId})`;
      const text = annotation === '' ? note : `${annotation}\n${note}`;
      await reconfigureVm(session, plan.sourceVm, { annotation: text }, callOptions());
    }
    await markVm(session, plan.sourceVm, attribute, mark);
  } catch (error) {
    if (!isFault(error, 'ManagedObjectNotFound')) throw error;
  }
}
