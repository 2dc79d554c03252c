// What ended migrations have left behind: a policy on a VM that is migrated again is nobody's until that has ended too.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MockActivityEnvironment } from '@temporalio/testing';
import { janitorActivities } from '../../activities/records/janitor.ts';
import type { Services } from '../../activities/services.ts';
import { detachStoragePolicy } from '../../activities/vsphere/storage-policy.ts';
import { findLeaks } from '../../api/installation/leaks.ts';
import { claimObject, listOwnedObjects, setPhase } from '../../db/index.ts';
import { startTestApi, type TestApi } from '../helpers/api.ts';
import { insertTestMigration } from '../helpers/records.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api?.close());

test('a policy stays in the book while another migration of its VM runs, and is taken away after it', async () => {
  const { prisma } = api.database;
  const [[past], [present]] = [
    (await insertTestMigration(api.services)).vmMigrations,
    (await insertTestMigration(api.services)).vmMigrations,
  ];
  if (past === undefined || present === undefined) throw new Error('A migration has a member');
  const { sourceSiteId, vmInstanceUuid, vmMoref } = past;
  const attachment = {
    siteId: sourceSiteId,
    vmMigrationId: past.id,
    kind: 'attachment',
    name: `${vmMoref} 2000`,
  } as const;
  await claimObject(prisma, attachment);
  const end = async (id: string): Promise<void> => {
    await setPhase(api.database, id, { step: 'ended', state: 'Terminated' });
    await prisma.vmMigration.update({ where: { id }, data: { endedAt: new Date(Date.now() - 60_000) } });
  };
  await end(past.id);
  await prisma.vmMigration.update({ where: { id: present.id }, data: { sourceSiteId, vmInstanceUuid, vmMoref } });

  const methods: string[] = [];
  const session = {
    policyContent: async () => ({ profileManager: { type: 'ProfileManager', value: 'pm' } }),
    // No disk carries a policy.
    call: async (_on: unknown, method: string) => void methods.push(method),
  };
  const services = { database: api.database, session: async () => session } as unknown as Services;
  const { findLeftovers } = janitorActivities(services);
  const left = () => listOwnedObjects(prisma, { vmMigrationId: past.id });
  const leaked = async () => (await findLeaks(api.services)).items.map((leak) => leak.vmMigrationId);
  const detach = () => new MockActivityEnvironment().run(() => detachStoragePolicy(services, past.id));

  await detach();
  expect([methods, await left()]).toMatchObject([[], [{ name: attachment.name }]]);
  expect(await findLeftovers()).toEqual([]);
  expect(await leaked()).not.toContain(past.id);

  // Anything else is removed at once.
  const disk = await claimObject(prisma, { ...attachment, kind: 'disk', name: '[datastore1] a.vmdk' });
  expect(await findLeftovers()).toEqual([{ vmMigrationId: past.id, completed: false }]);
  await prisma.ownedObject.delete({ where: { id: disk.id } });

  await end(present.id);
  expect(await findLeftovers()).toEqual([{ vmMigrationId: past.id, completed: false }]);
  expect(await leaked()).toContain(past.id);
  await detach();
  expect(methods).toEqual(['PbmQueryAssociatedProfile']);
  expect(await left()).toEqual([]);
});
