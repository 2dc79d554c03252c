/** The records of a made-up fleet: two sites, and migrations whose members nobody has ever seen. */
import { randomUUID } from 'node:crypto';
import { autoFinal, limits, manualFinal, type MigrationKind } from '../../../core/index.ts';
import { createMigration, insertSite, sealingKey, setCapacities, type Database, type Site } from '../../../db/index.ts';

export const groupSize = 20;
export const queueSize = 50;
/** As many as a queue has, so that all VMs run at one moment. */
export const queueConcurrency = queueSize;
/** All begin within some eight minutes: at the product's own pace up to a thousand, faster beyond. */
const beginSecondsMax = 500;
/** Every so many-th migration is a queue, the others are groups. */
const queueEvery = 3;

export interface FleetMigration {
  readonly id: string;
  readonly kind: MigrationKind;
  readonly members: readonly string[];
}

/** The pace at which migrations of a fleet begin. */
export function startsPerSecond(vms: number): number {
  return Math.max(limits.admissionStartsPerSecond, Math.ceil(vms / beginSecondsMax));
}

export async function fillRecords(database: Database, vms: number): Promise<readonly FleetMigration[]> {
  const starts = startsPerSecond(vms);
  await setCapacities(database.prisma, { total: vms, host: vms, datastore: vms, link: vms, starts });
  const sealing = sealingKey(Buffer.alloc(32, 1));
  const site = (name: string): Promise<Site> =>
    insertSite(database.prisma, sealing, {
      name,
      address: `${name}.example`,
      username: 'bench',
      password: 'not-used',
      thumbprintSha256: Array<string>(32).fill('5A').join(':'),
      instanceUuid: randomUUID(),
      apiVersion: '8.0.3.0',
      productName: 'simulated',
    });
  const [from, to] = [await site('from'), await site('to')];
  const made: FleetMigration[] = [];
  for (let done = 0; done < vms;) {
    const kind: MigrationKind = made.length % queueEvery === 0 ? 'independent' : 'group';
    const size = Math.min(kind === 'group' ? groupSize : queueSize, vms - done);
    const row = await database.transaction((db) =>
      createMigration(db, {
        kind,
        final: kind === 'group' ? manualFinal : autoFinal,
        concurrency: kind === 'group' ? groupSize : queueConcurrency,
        requestedBy: 'bench',
        destination: { siteId: to.id, clusterMoref: 'domain-c1', datastoreMoref: 'datastore-1', networks: [] },
        members: Array.from({ length: size }, (_, index) => ({
          sourceSiteId: from.id,
          vmMoref: `vm-${done + index}`,
          vmInstanceUuid: randomUUID(),
          vmName: `vm-${done + index}`,
          sourceHostMoref: `host-${index % 10}`,
          warnings: [],
          settings: null,
          disks: [],
        })),
      }),
    );
    made.push({ id: row.id, kind, members: row.vmMigrations.map(({ id }) => id) });
    done += size;
  }
  return made;
}
