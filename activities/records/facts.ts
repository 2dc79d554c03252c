/** What a workflow has to know of a VM's migration, from its record. */
import type { BegunFinal, Standing, VmMigrationFacts } from '../../contracts/activities.ts';
import { needsOf, type FinalPolicy, type Step } from '../../core/index.ts';
import {
  destinationOf,
  getVmMigration,
  setFacts,
  takeHandOverToken,
  type Database,
  type Migration,
  type VmMigration,
} from '../../db/index.ts';

export async function readFacts({ prisma }: Database, vmMigrationId: string): Promise<VmMigrationFacts> {
  return factsOf(await getVmMigration(prisma, vmMigrationId));
}

/** Notes who asked for the final migration, where somebody did, and takes its token. A token that nobody freezes with is lost. */
export async function beginFinal(
  database: Database,
  vmMigrationId: string,
  approvedBy: string | undefined,
): Promise<BegunFinal> {
  const { prisma } = database;
  if (approvedBy !== undefined) await setFacts(prisma, vmMigrationId, { approvedBy });
  const token = Number(await takeHandOverToken(prisma, vmMigrationId));
  return { facts: await readFacts(database, vmMigrationId), token };
}

function factsOf({ migration, ...row }: Awaited<ReturnType<typeof getVmMigration>>): VmMigrationFacts {
  const { migrationId, vmName, vmInstanceUuid, sourceSiteId, destinationSiteId } = row;
  return {
    migrationId,
    vmName,
    vmInstanceUuid,
    sourceSiteId,
    destinationSiteId,
    needs: needsOf(routeOf(row, migration)),
    place: destinationOf(row, migration),
    priority: migration.priority,
    powersOn: (migration.final as unknown as FinalPolicy).mode !== 'manual',
    standing: standingOf(row),
  };
}

function standingOf({ step, status, endedAt, handedOverAt }: VmMigration): Standing {
  const ended = endedAt === null ? null : (status as NonNullable<Standing['ended']>);
  return { step: step as Step, ended, handedOver: handedOverAt !== null };
}

export function routeOf(row: VmMigration, migration: Migration): Parameters<typeof needsOf>[0] {
  const { datastoreMoref } = destinationOf(row, migration);
  const { sourceSiteId, sourceHostMoref, destinationSiteId } = row;
  return { sourceSiteId, sourceHostMoref, destinationSiteId, datastoreMoref };
}
