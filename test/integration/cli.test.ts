// The `landfall` command as a process against a real API: what people read, what programs read, how it fails.
import { rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MigrationError } from '../../core/index.ts';
import { setPhase } from '../../db/index.ts';
import { startTestApi, type TestApi } from '../helpers/api.ts';
import { finish, makeCli, type Cli, type Outcome } from '../helpers/cli.ts';
import { insertTestMigration } from '../helpers/records.ts';

let api: TestApi;

beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api?.close());

const landfall: Cli['run'] = (...args) => makeCli(api).run(...args);
const begin: Cli['begin'] = (...args) => makeCli(api).begin(...args);
const addSite = ['site', 'add', 'old-dc', '--address', 'vcenter.example', '--user', 'administrator@vsphere.local'];

describe('landfall status', () => {
  const part = { since: '2027-01-01T00:00:00.000Z', logFile: '/logs/one.log', lastEnd: null, remedy: null };
  const parts = [
    { ...part, name: 'postgres', state: 'running', restarts: 0 },
    {
      ...part,
      name: 'worker',
      state: 'failing',
      restarts: 4,
      lastEnd: { at: '2027-01-01T00:00:09.000Z', how: 'exit status 1' },
      remedy: 'Read the end of /logs/one.log',
    },
  ];

  test('it shows each process of the installation, what to do for one that fails, and ends with status 1 then', async () => {
    writeFileSync(api.services.partsFile, JSON.stringify(parts));
    const failing = await landfall(['status']);
    writeFileSync(api.services.partsFile, JSON.stringify(parts.slice(0, 1)));
    const well = await landfall(['status']);
    rmSync(api.services.partsFile);
    expect([failing.status, well.status]).toEqual([1, 0]);
    expect(failing.output).toMatch(/^worker {4}failing {2}2027-01-01 00:00:00Z {2}4 .*exit status 1$/m);
    expect(failing.output).toContain('What to do for worker: Read the end of /logs/one.log');
    expect(well.output).toContain('postgres  running');
  });

  test('an API that was started otherwise says that no more is known', async () => {
    expect(await landfall(['status'])).toMatchObject({ status: 0, output: expect.stringContaining('The API answers') });
  });
});

describe('landfall --help', () => {
  test.each(['up', 'api', 'worker'])('landfall %s is explained and not started', async (name) => {
    const { status, output, errors } = await landfall([name, '--help']);
    expect([status, errors]).toEqual([0, '']);
    expect(output).toMatch(new RegExp(`^landfall ${name}: `));
  });
});

describe('S1 landfall site', () => {
  test('without a terminal nothing is asked: the certificate has to be accepted beforehand', async () => {
    const { status, errors } = await landfall(addSite, { LANDFALL_SITE_PASSWORD: 'x' });
    expect(status).toBe(1);
    expect(errors).toContain('What to do: Add --yes');
  });

  test('a refusal is shown with title, detail and remedy, for programs as the problem itself', async () => {
    api.vcenter.refuse = new MigrationError('VSPHERE_UNREACHABLE', 'vcenter.example cannot be reached');
    const forPeople = await landfall([...addSite, '--yes'], { LANDFALL_SITE_PASSWORD: 'x' });
    const forPrograms = await landfall([...addSite, '--yes', '--json'], { LANDFALL_SITE_PASSWORD: 'x' });
    api.vcenter.refuse = undefined;
    expect([forPeople.status, forPrograms.status]).toEqual([1, 1]);
    expect(forPeople.errors).toMatch(
      /^Error: The vCenter cannot be reached\n {2}vcenter\.example cannot be reached\nWhat to do: Check address/,
    );
    expect(JSON.parse(forPrograms.errors)).toMatchObject({ code: 'VSPHERE_UNREACHABLE', status: 502 });
  });

  test('a site is added with the certificate that was shown, and listed', async () => {
    const added = await landfall([...addSite, '--yes'], { LANDFALL_SITE_PASSWORD: 'secret-of-the-site' });
    expect(added.output).toMatch(/5A:5A.*\n.*old-dc is registered as site_/);
    expect(api.vcenter.logins.at(-1)?.password).toBe('secret-of-the-site');
    const listed = await landfall(['site', 'list']);
    expect(listed.output).toMatch(/^NAME +ADDRESS +PRODUCT.*\nold-dc +vcenter\.example +A stand-in 8\.0\.3/);
    const asJson = JSON.parse((await landfall(['site', 'list', '--json'])).output) as { items: unknown[] };
    expect(asJson.items).toHaveLength(1);
  });

  test('a name that is not there is answered with the names that are', async () => {
    const { status, errors } = await landfall(['site', 'remove', 'odl-dc', '--yes']);
    expect(status).toBe(1);
    expect(errors).toContain('There are: old-dc.');
  });
});

describe('M6 landfall settings and commands', () => {
  test('P2 a limit is read as people write it', async () => {
    const { vmMigrations } = await insertTestMigration(api.services);
    const id = vmMigrations[0]?.id ?? '';
    const changed = await landfall(['settings', id, '--limit', '8MB/s', '--json']);
    expect(JSON.parse(changed.output)).toMatchObject({ desired: { bytesPerSecondMax: '8000000' } });
    const lifted = await landfall(['settings', id, '--limit', 'none']);
    expect(lifted.output).toContain('limit none');
  });

  test('a command that comes too early says so and ends with status 1', async () => {
    const { vmMigrations } = await insertTestMigration(api.services);
    api.workflows.fail = new MigrationError('FINAL_NOT_READY', 'Not ready for the final migration yet');
    const { status, errors } = await landfall(['final', vmMigrations[0]?.vmName ?? '', '--yes']);
    api.workflows.fail = undefined;
    expect(status).toBe(1);
    expect(errors).toContain('Wait until the state says "Ready for final migration"');
  });
});

describe('P1 landfall watch', () => {
  const followUntil = async (state: 'Job complete' | 'Failed'): Promise<Outcome> => {
    const { id, vmMigrations } = await insertTestMigration(api.services);
    const member = vmMigrations[0]?.id ?? '';
    const child = begin(['watch', id]);
    const outcome = finish(child);
    await new Promise((ready) => child.stdout?.once('data', ready));
    const failure = {
      code: 'ROOTS_DIFFER',
      message: 'The disks differ',
      remedy: 'Power the source on',
      step: 'freeze',
    } as const;
    await setPhase(api.database, member, { step: 'replicate' });
    await setPhase(api.database, member, { step: 'ended', state, ...(state === 'Failed' ? { failure } : {}) });
    return outcome;
  };

  test('it follows to the end and says where the receipt is', async () => {
    const { status, output } = await followUntil('Job complete');
    expect(status).toBe(0);
    expect(output).toContain('Queued, Task Queued');
    expect(output).toMatch(/Completed\n {2}The receipt: landfall receipt vmm_/);
  });

  test('a failure says why and what to do, and ends with status 1', async () => {
    const { status, output } = await followUntil('Failed');
    expect(status).toBe(1);
    expect(output).toContain('The disks differ\n  What to do: Power the source on');
  });
});

describe('how it fails', () => {
  test('without a connection it says how to get one', async () => {
    const { status, errors } = await landfall(['site', 'list'], { LANDFALL_TOKEN: '', LANDFALL_URL: '' });
    expect(status).toBe(1);
    expect(errors).toContain('Run "landfall up" first');
  });

  test('an API that is not there is said to be unreachable', async () => {
    const { status, errors } = await landfall(['site', 'list'], { LANDFALL_URL: 'https://127.0.0.1:1' });
    expect(status).toBe(1);
    expect(errors).toContain('The API cannot be reached');
  });

  test('a certificate of a stranger is not trusted', async () => {
    const { status, errors } = await landfall(['site', 'list'], { LANDFALL_AUTHORITY_FILE: 'test/helpers/README.md' });
    expect(status).toBe(1);
    expect(errors).toContain('LANDFALL_AUTHORITY_FILE');
  });
});
