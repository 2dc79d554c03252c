// How the `landfall` commands to a whole migration are told which: by its id, or by the name of its only VM.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestApi, type TestApi } from '../helpers/api.ts';
import { makeCli, type Cli } from '../helpers/cli.ts';
import { insertTestMigration } from '../helpers/records.ts';

let api: TestApi;
let cli: Cli;
beforeAll(async () => {
  api = await startTestApi();
  cli = makeCli(api);
});
afterAll(() => api?.close());

test('the only VM of a migration stands for it', async () => {
  const { id, vmMigrations } = await insertTestMigration(api.services);
  const [name = ''] = vmMigrations.map(({ vmName }) => vmName);
  expect((await cli.run(['migrate', 'change', name, '--priority', '1'])).output).toContain(`${id}: Queued, priority 1`);
  expect((await cli.run(['queue', 'concurrency', name, '2'])).status).toBe(0);
  expect(api.workflows.calls.at(-1)).toBe(`queue ${id} {"kind":"concurrency","concurrency":2}`);
});

test('one of several does not, and an unknown name is said to be unknown', async () => {
  const { id, vmMigrations } = await insertTestMigration(api.services, { kind: 'group', names: ['web', 'db'] });
  const [name = ''] = vmMigrations.map(({ vmName }) => vmName);
  const several = await cli.run(['migrate', 'change', name, '--priority', '1']);
  expect(several.status).toBe(1);
  expect(several.errors).toContain(`${name} is migrated together with 1 other VM.`);
  expect(several.errors).toContain(id);
  const unknown = await cli.run(['migrate', 'change', 'no-such-vm', '--priority', '1']);
  expect(unknown.errors).toContain('No migration of a VM no-such-vm is known.');
});
