/** Writes what a replicator says into the records, with totals that go on over the replicator's restarts. */
import type { Dials } from '../../core/index.ts';
import type { JobStatus } from '../../dataplane/client/index.ts';
import { listDisks, recordProgress } from '../../db/index.ts';
import type { Services } from '../services.ts';
import { progressOf, type KeptCounters } from './progress.ts';

/** Returns the dials that are wanted now; null when the migration has ended. */
export type ProgressWriter = (status: JobStatus) => Promise<Dials | null>;

/** Begins where the records are, whoever wrote them. */
export async function openProgressWriter(services: Services, vmMigrationId: string): Promise<ProgressWriter> {
  const { prisma, pool } = services.database;
  const disks = await listDisks(prisma, vmMigrationId);
  let kept = disks.flatMap((disk) => (disk.progress === null ? [] : [disk.progress as unknown as KeptCounters]));
  return async (status) => {
    const report = progressOf(status, kept, new Date());
    kept = report.disks as unknown as KeptCounters[];
    return recordProgress(pool, vmMigrationId, report);
  };
}
