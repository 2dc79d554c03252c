/** Activities that change or read vCenters. Each looks first and acts then, and may be repeated after its effect. */
import type { VsphereActivities } from '../../contracts/activities.ts';
import type { Services } from '../services.ts';
import { ensureAgentIso } from './agent-iso.ts';
import { deleteConfigurationIso, uploadConfigurationIso } from './configuration-iso.ts';
import { copyNvram, createFinalVm, detachTargetDisks, powerOnFinalVm, waitForFinalGuest } from './final-vm.ts';
import { markSourceVm } from './mark-source.ts';
import { createShadowVm, destroyShadowVm, powerOnShadowVm, waitForShadowVmAddress } from './shadow-vm.ts';
import { restoreSourcePower } from './restore-source-power.ts';
import { requestGuestShutDown, stopSourceVm } from './source-power.ts';
import { attachStoragePolicy, detachStoragePolicy } from './storage-policy.ts';
import { createTargetDisks, deleteTargetDisks } from './target-disks.ts';

export function vsphereActivities(services: Services): VsphereActivities {
  return {
    ensureAgentIso: ({ vmMigrationId }) => ensureAgentIso(services, vmMigrationId),
    createTargetDisks: ({ vmMigrationId }) => createTargetDisks(services, vmMigrationId),
    deleteTargetDisks: ({ vmMigrationId }) => deleteTargetDisks(services, vmMigrationId),
    uploadConfigurationIso: ({ vmMigrationId }) => uploadConfigurationIso(services, vmMigrationId),
    deleteConfigurationIso: ({ vmMigrationId }) => deleteConfigurationIso(services, vmMigrationId),
    createShadowVm: ({ vmMigrationId }) => createShadowVm(services, vmMigrationId),
    destroyShadowVm: ({ vmMigrationId }) => destroyShadowVm(services, vmMigrationId),
    powerOnShadowVm: ({ vmMigrationId }) => powerOnShadowVm(services, vmMigrationId),
    waitForShadowVmAddress: ({ vmMigrationId, timeoutSeconds }) =>
      waitForShadowVmAddress(services, vmMigrationId, timeoutSeconds),
    attachStoragePolicy: ({ vmMigrationId }) => attachStoragePolicy(services, vmMigrationId),
    detachStoragePolicy: ({ vmMigrationId }) => detachStoragePolicy(services, vmMigrationId),
    requestGuestShutDown: ({ vmMigrationId }) => requestGuestShutDown(services, vmMigrationId),
    stopSourceVm: ({ vmMigrationId, approvedBy }) => stopSourceVm(services, vmMigrationId, approvedBy),
    restoreSourcePower: ({ vmMigrationId }) => restoreSourcePower(services, vmMigrationId),
    detachTargetDisks: ({ vmMigrationId }) => detachTargetDisks(services, vmMigrationId),
    createFinalVm: ({ vmMigrationId }) => createFinalVm(services, vmMigrationId),
    copyNvram: ({ vmMigrationId }) => copyNvram(services, vmMigrationId),
    powerOnFinalVm: ({ vmMigrationId }) => powerOnFinalVm(services, vmMigrationId),
    waitForFinalGuest: ({ vmMigrationId, timeoutSeconds, until }) =>
      waitForFinalGuest(services, vmMigrationId, timeoutSeconds, until),
    markSourceVm: ({ vmMigrationId }) => markSourceVm(services, vmMigrationId),
  };
}
