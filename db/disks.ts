/** The disks of one VM's migration: pairs of source and destination, and their roots at hand-over. */
import type { Disk } from '../generated/prisma/client.ts';
import type { Db } from './database.ts';

export type { Disk };

export function listDisks(db: Db, vmMigrationId: string): Promise<Disk[]> {
  return db.disk.findMany({ where: { vmMigrationId }, orderBy: { position: 'asc' } });
}

/** Keeps where the destination disk lies and what it is called there. */
export async function setDestinationDisk(
  db: Db,
  id: string,
  destination: { readonly destinationPath: string; readonly destinationUuid: string },
): Promise<void> {
  await db.disk.update({ where: { id }, data: destination });
}

export interface DiskRoots {
  readonly sourceUuid: string;
  readonly sourceRoot: string;
  readonly destinationRoot: string;
}

export async function setDiskRoots(db: Db, vmMigrationId: string, roots: readonly DiskRoots[]): Promise<void> {
  for (const { sourceUuid, sourceRoot, destinationRoot } of roots) {
    await db.disk.update({
      where: { vmMigrationId_sourceUuid: { vmMigrationId, sourceUuid } },
      data: { sourceRoot, destinationRoot },
    });
  }
}
