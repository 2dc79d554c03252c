// The VM at the destination belongs to its owner once it has been powered on: steps that come twice leave it alone then.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Services } from '../../activities/services.ts';
import { copyNvram, powerOnFinalVm } from '../../activities/vsphere/final-vm.ts';
import { setFacts } from '../../db/index.ts';
import { startTestApi, type TestApi } from '../helpers/api.ts';
import { insertTestMigration } from '../helpers/records.ts';

let api: TestApi;

beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api.close());

test.each([
  ['copyNvram', copyNvram],
  ['powerOnFinalVm', powerOnFinalVm],
] as const)('M10 %s touches neither vCenter after the VM was powered on', async (_name, activity) => {
  const { vmMigrations } = await insertTestMigration(api.services);
  const [{ id } = { id: '' }] = vmMigrations;
  const asked: string[] = [];
  const ask = async (siteId: string): Promise<never> => {
    asked.push(siteId);
    throw new Error('Nobody is there');
  };
  const services = { database: api.database, session: ask, inventory: ask } as unknown as Services;
  await expect(activity(services, id)).rejects.toThrow();
  expect(asked).not.toEqual([]);
  asked.length = 0;
  await setFacts(api.database.prisma, id, { poweredOnAt: new Date() });
  await activity(services, id);
  expect(asked).toEqual([]);
});
