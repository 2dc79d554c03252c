/**
 * What is always removed together, as one activity each: it costs one turn of the workflow instead of several. Every part bears
 * being done again after all of them were, so a repeat begins from the first.
 */
import type { RemovalActivities } from '../contracts/activities.ts';
import { forgetShadowVm } from './replication/enrol-shadow-vm.ts';
import { stopReplication } from './replication/commands.ts';
import type { Services } from './services.ts';
import { deleteConfigurationIso } from './vsphere/configuration-iso.ts';
import { destroyShadowVm } from './vsphere/shadow-vm.ts';
import { detachStoragePolicy } from './vsphere/storage-policy.ts';

export function removalActivities(services: Services): RemovalActivities {
  return {
    async removeShadowVm({ vmMigrationId }) {
      await destroyShadowVm(services, vmMigrationId);
      await deleteConfigurationIso(services, vmMigrationId);
      await forgetShadowVm(services, vmMigrationId);
    },
    async releaseSource({ vmMigrationId }) {
      await stopReplication(services, vmMigrationId);
      await detachStoragePolicy(services, vmMigrationId);
    },
  };
}
