/** Activities that only touch the records: what people see of a migration. */
import type { RecordsActivities } from '../../contracts/activities.ts';
import type { Reason } from '../../core/index.ts';
import { getMigration, getVmMigration, setFacts, setPhase } from '../../db/index.ts';
import type { Services } from '../services.ts';

export function recordsActivities({ database }: Services): RecordsActivities {
  return {
    async readVmMigration({ vmMigrationId }) {
      const row = await getVmMigration(database.prisma, vmMigrationId);
      const { migrationId, vmName, sourceSiteId, destinationSiteId, autoFinal } = row;
      return { migrationId, vmName, sourceSiteId, destinationSiteId, autoFinal };
    },
    async notePhase({ vmMigrationId, reason, ...note }) {
      await setPhase(database, vmMigrationId, { ...note, reason: await since(vmMigrationId, reason ?? null) });
    },
    async noteApproval({ vmMigrationId, approvedBy }) {
      await setFacts(database.prisma, vmMigrationId, { approvedBy });
    },
    async listQueue({ migrationId }) {
      const migration = await getMigration(database.prisma, migrationId);
      return migration.vmMigrations.filter((member) => member.endedAt === null).map((member) => member.id);
    },
  };

  /** A reason that stays the same keeps the time when it began. */
  async function since(vmMigrationId: string, reason: Omit<Reason, 'since'> | null): Promise<Reason | null> {
    if (reason === null) return null;
    const before = (await getVmMigration(database.prisma, vmMigrationId)).reason as Reason | null;
    const same = before?.code === reason.code;
    return { ...reason, since: same ? before.since : new Date().toISOString() };
  }
}
