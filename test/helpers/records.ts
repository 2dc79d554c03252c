// Sites and migrations, written straight into the records: for tests that begin after the checks of vCenters.
import { randomUUID } from 'node:crypto';
import type { Services } from '../../api/index.ts';
import type { Projection } from '../../contracts/rest.ts';
import {
  createMigration,
  insertSite,
  json,
  type MigrationWithMembers,
  type NewMember,
  type NewMigration,
  type Site,
} from '../../db/index.ts';

export async function insertTestSite(
  { database, sealingKey }: Services,
  name: string,
  password = 'not-shown',
): Promise<Site> {
  return insertSite(database.prisma, sealingKey, {
    name,
    address: `${name}.example`,
    username: 'administrator@vsphere.local',
    password,
    thumbprintSha256: Array<string>(32).fill('5A').join(':'),
    instanceUuid: randomUUID(),
    apiVersion: '8.0.3.0',
    productName: 'A stand-in 8.0.3',
  });
}

/** A queued migration of some VMs, each with one disk, between two new sites; of one VM unless names are given. */
export async function insertTestMigration(
  services: Services,
  { names, ...more }: Partial<Omit<NewMigration, 'members'>> & { readonly names?: readonly string[] } = {},
): Promise<MigrationWithMembers> {
  const suffix = randomUUID().slice(0, 8);
  const source = await insertTestSite(services, `from-${suffix}`);
  const destination = await insertTestSite(services, `to-${suffix}`);
  return services.database.transaction((db) =>
    createMigration(db, {
      kind: 'independent',
      requestedBy: 'tok_test',
      destination: { siteId: destination.id, clusterMoref: 'domain-c1', datastoreMoref: 'datastore-1', networks: [] },
      ...more,
      members: (names ?? ['app']).map((name, index) => testMember(source, `${name}-${suffix}`, index + 1)),
    }),
  );
}

/** As the supervisor would keep it: a stop of this VM would take so long. */
export async function setProjectedDowntime({ database }: Services, id: string, downtimeSeconds: number): Promise<void> {
  const ready = { p50Seconds: 0, p90Seconds: 0 };
  const projection = json({ ready, downtimeSeconds, downtimeParts: null } satisfies Projection);
  await database.prisma.vmMigration.update({ where: { id }, data: { projection } });
}

function testMember(source: Site, vmName: string, number: number): NewMember {
  return {
    sourceSiteId: source.id,
    vmMoref: `vm-${number}`,
    vmInstanceUuid: randomUUID(),
    vmName,
    sourceHostMoref: 'host-1',
    warnings: [],
    settings: null,
    disks: [
      {
        label: 'Hard disk 1',
        sourceUuid: randomUUID(),
        sourcePath: '[datastore1] app/app.vmdk',
        deviceKey: 2000,
        controllerKey: 1000,
        unitNumber: 0,
        capacityBytes: 2n ** 31n,
        provisioning: 'thin',
      },
    ],
  };
}
