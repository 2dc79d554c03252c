// What the workflows note of each VM, as people see it: the migration follows its members, also when many move at one moment.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { beginFinal } from '../../activities/records/facts.ts';
import { recordsActivities } from '../../activities/records/index.ts';
import type { Services as ActivityServices } from '../../activities/services.ts';
import { getMigration, getVmMigration, listEventsAfter, lastEventId, readQueue, setPhase } from '../../db/index.ts';
import { startTestApi, type TestApi } from '../helpers/api.ts';
import { insertTestMigration } from '../helpers/records.ts';

let api: TestApi;

beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

/** A migration of so many members; returns its id and theirs. */
async function migrationOf(members: number): Promise<readonly [string, ...string[]]> {
  const names = Array.from({ length: members }, (_, index) => `app-${index}`);
  const { id, vmMigrations } = await insertTestMigration(api.services, { names });
  const [first = '', ...others] = vmMigrations.map((member) => member.id);
  return [id, first, ...others];
}

test('a migration ends with its last member, also when all end at one moment', async () => {
  const [id, ...members] = await migrationOf(16);
  await Promise.all(members.map((member) => setPhase(api.database, member, { step: 'replicate' })));
  expect(await getMigration(api.database.prisma, id)).toMatchObject({ status: 'Running', endedAt: null });
  await Promise.all(members.map((member) => setPhase(api.database, member, { step: 'ended' })));
  const row = await getMigration(api.database.prisma, id);
  expect(row.status).toBe('Completed');
  expect(row.endedAt).not.toBeNull();
});

test('saying the same twice changes nothing and tells nobody; a reason keeps the time when it began', async () => {
  const [, member = ''] = await migrationOf(1);
  const { database } = api;
  const reason = { code: 'PAUSED', message: 'The migration is paused' };
  const paused = { step: 'replicate', state: 'Waiting for data', reason } as const;
  await setPhase(database, member, paused);
  const before = await getVmMigration(database.prisma, member);
  const last = await lastEventId(database.prisma);
  await setPhase(database, member, paused);
  const after = await getVmMigration(database.prisma, member);
  expect(after).toEqual({ ...before, updatedAt: after.updatedAt });
  expect(await listEventsAfter(database.prisma, last, 10)).toEqual([]);
});

test('a step that is tried once more keeps its trouble shown, a step that begins does not', async () => {
  const [, member = ''] = await migrationOf(1);
  const { database } = api;
  const shown = async () => (await getVmMigration(database.prisma, member)).reason;
  await setPhase(database, member, {
    step: 'finalVm',
    reason: { code: 'VSPHERE_TIMEOUT', message: 'It does not answer' },
  });
  await setPhase(database, member, { step: 'finalVm', again: true });
  expect(await shown()).toMatchObject({ code: 'VSPHERE_TIMEOUT' });
  await setPhase(database, member, { step: 'nvram', again: true });
  expect(await shown()).toBeNull();
});

test('M10 a step that says once more that it begins, after the migration has ended, changes nothing', async () => {
  const [, member = ''] = await migrationOf(1);
  const { database } = api;
  await setPhase(database, member, { step: 'markSource' });
  await setPhase(database, member, { step: 'ended' });
  const before = await getVmMigration(database.prisma, member);
  await setPhase(database, member, { step: 'markSource', again: true });
  expect(await getVmMigration(database.prisma, member)).toEqual(before);
});

test('whoever reports beside the workflow changes nothing in another step, and an unknown VM is refused', async () => {
  const [, member = ''] = await migrationOf(1);
  await setPhase(api.database, member, { step: 'freeze' });
  await setPhase(api.database, member, { step: 'replicate', onlyDuring: ['replicate'] });
  expect(await getVmMigration(api.database.prisma, member)).toMatchObject({
    step: 'freeze',
    state: 'Performing final migration',
  });
  await expect(setPhase(api.database, 'vmm_nobody', { step: 'freeze' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('a group is told of members in their final, without those that failed in it and stand still', async () => {
  const [migrationId, first = '', second = '', third = ''] = await migrationOf(3);
  await setPhase(api.database, first, { step: 'handOver' });
  await setPhase(api.database, second, { step: 'shutDownGuest' });
  await setPhase(api.database, third, { step: 'freeze', state: 'Failed' });
  const { readGroup } = recordsActivities({ database: api.database } as ActivityServices);
  expect(await readGroup({ migrationId })).toMatchObject({
    paused: false,
    failed: [third],
    inFinal: [
      { id: first, handingOver: true },
      { id: second, handingOver: false },
    ],
  });
});

test('a queue that begins takes up nobody whose addition it has not been told of', async () => {
  const [id, first, added = ''] = await migrationOf(2);
  const { prisma } = api.database;
  await prisma.vmMigration.update({ where: { id: added }, data: { announced: false } });
  expect((await readQueue(prisma, id)).waiting).toEqual([first]);
});

test('M10 a final that is begun twice gets a newer token each time, and keeps who asked for it', async () => {
  const [, member = ''] = await migrationOf(1);
  const { database } = api;
  const first = await beginFinal(database, member, 'kim');
  const again = await beginFinal(database, member, 'kim');
  // By its rules: nobody is named, and the name that stands is not taken away.
  const byRules = await beginFinal(database, member, undefined);
  expect(again.token).toBeGreaterThan(first.token);
  expect(byRules.token).toBeGreaterThan(again.token);
  expect(byRules.facts).toEqual(first.facts);
  expect(await getVmMigration(database.prisma, member)).toMatchObject({ approvedBy: 'kim' });
});
