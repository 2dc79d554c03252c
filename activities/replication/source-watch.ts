/**
 * Looks at the source VM now and then while it replicates: a disk that was removed, resized, moved or
 * replaced under the migration ends it, instead of corrupting the copy (product rows V4, V6).
 */
import { MigrationError, failureNote, limits, type FailureNote } from '../../core/index.ts';
import type { Disk } from '../../db/index.ts';
import { readVm, type VmFacts } from '../../vsphere/index.ts';
import { readPlan } from '../plan.ts';
import type { Services } from '../services.ts';

export interface SourceWatch {
  /** What was changed, or null. Looks at most every half minute; trouble with the vCenter is not a change. */
  look(): Promise<FailureNote | null>;
}

export function watchSourceVm(services: Services, vmMigrationId: string): SourceWatch {
  let nextAtMs = Date.now() + limits.sourceCheckSeconds * 1000;
  return {
    async look() {
      if (Date.now() < nextAtMs) return null;
      nextAtMs = Date.now() + limits.sourceCheckSeconds * 1000;
      try {
        const plan = await readPlan(services, vmMigrationId);
        const session = await services.session(plan.details.sourceSiteId);
        const change = changeOf(await readVm(session, plan.sourceVm), plan.disks);
        return change === null ? null : failureNote(new MigrationError('SOURCE_DISK_CHANGED', change));
      } catch {
        // A vCenter that does not answer is no change of the VM, and replication does not need it: it is asked again.
        return null;
      }
    },
  };
}

/** While a snapshot exists the VM runs on delta files; what matters then is judged when it is gone. */
export function changeOf(vm: Pick<VmFacts, 'disks' | 'hasSnapshot'>, expected: readonly Disk[]): string | null {
  if (vm.hasSnapshot) return null;
  for (const disk of expected) {
    const now = vm.disks.find(({ key }) => key === disk.deviceKey);
    if (now === undefined) return `${disk.label} was removed from the source VM`;
    if (now.uuid !== disk.sourceUuid) return `${disk.label} was replaced by another disk`;
    if (now.capacityBytes !== disk.capacityBytes) return `${disk.label} was resized`;
    if (now.path !== disk.sourcePath && !now.hasParent) return `${disk.label} was moved to ${now.path}`;
  }
  return null;
}
