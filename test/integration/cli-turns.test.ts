// The `landfall` commands for the night of the move, as a process against a real API: queue, limits, plans, decisions, sites.
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Migration } from '../../contracts/rest.ts';
import { MigrationError } from '../../core/index.ts';
import { setWaitingFor } from '../../db/index.ts';
import { startTestApi, type TestApi } from '../helpers/api.ts';
import { makeCli, type Cli } from '../helpers/cli.ts';
import { insertTestMigration, setProjectedDowntime } from '../helpers/records.ts';

let api: TestApi;
let cli: Cli;
beforeAll(async () => {
  api = await startTestApi();
  cli = makeCli(api);
});
afterAll(() => api?.close());

const lastCall = () => api.workflows.calls.at(-1);

describe('M5 landfall queue', () => {
  test('M5 names VMs, tells the queue, and shows what waits for what with its place', async () => {
    const made = await insertTestMigration(api.services, { names: ['a', 'b'] });
    const [a, b] = made.vmMigrations;
    const moved = await cli.run(['queue', 'move', b?.vmName ?? '', '--before', a?.vmName ?? '']);
    expect(lastCall()).toBe(`queue ${made.id} ${JSON.stringify({ kind: 'move', before: a?.id, id: b?.id })}`);
    expect(moved.output).toContain('its turn in the queue (place 2)');
    expect((await cli.run(['queue', 'concurrency', made.id, '3'])).status).toBe(0);
    expect(lastCall()).toBe(`queue ${made.id} {"kind":"concurrency","concurrency":3}`);
    api.workflows.fail = new MigrationError('MEMBER_NOT_WAITING', 'It is not waiting in this queue');
    const refused = await cli.run(['queue', 'hold', a?.vmName ?? '']);
    api.workflows.fail = undefined;
    expect(refused.status).toBe(1);
    expect(refused.errors).toContain('It is not waiting in this queue');
  });

  test('M5 a priority is changed, and places and limits are shown', async () => {
    const { id, vmMigrations } = await insertTestMigration(api.services);
    const member = vmMigrations[0]?.id ?? '';
    const changed = await cli.run(['migrate', 'change', id, '--priority', '1']);
    expect(changed.output).toContain(`${id}: Queued, priority 1`);
    expect(lastCall()).toContain(`"${id}":1`);
    await setWaitingFor(api.database.prisma, [{ id: member, waitingFor: 'link: 100 of 100 in use', place: 4 }]);
    expect((await cli.run(['migrate', 'show', member])).output).toContain(
      'waits for link: 100 of 100 in use (place 4)',
    );
    const limits = await cli.run(['limits', 'link=20']);
    expect(limits.output).toMatch(/link +20/);
    expect((await cli.run(['limits'])).output).toContain(`${member} (place 4) waits for link`);
    expect((await cli.run(['limits', 'link'])).errors).toContain('is not RESOURCE=COUNT');
    await cli.run(['limits', 'link=default']);
  });
});

describe('M9 landfall migrate change', () => {
  test('M9 final, objectives and windows are changed; "none" takes an objective away', async () => {
    const { id } = await insertTestMigration(api.services);
    const change = async (...args: string[]) =>
      JSON.parse((await cli.run(['migrate', 'change', id, ...args, '--json'])).output) as Migration;
    expect((await change('--auto-final', '--downtime-max', '120')).objectives.downtimeSecondsMax).toBe(120);
    const windowed = await change('--window', '2027-03-06T22:00Z/2027-03-07T04:00Z', '--downtime-max', 'none');
    expect(windowed).toMatchObject({
      final: { mode: 'window', windows: [{ from: '2027-03-06T22:00:00.000Z' }] },
      objectives: { downtimeSecondsMax: null },
    });
    expect((await change('--manual-final')).final).toEqual({ mode: 'manual', windows: [] });
  });

  test('M4 a group takes another runbook from a file', async () => {
    const group = await insertTestMigration(api.services, { kind: 'group', names: ['db', 'web'] });
    const [db] = group.vmMigrations;
    const folder = await mkdtemp(join(tmpdir(), 'landfall-cli-'));
    const file = join(folder, 'night.json');
    writeFileSync(file, JSON.stringify({ powerOn: [{ vms: [db?.vmName] }] }));
    const answer = await cli.run(['migrate', 'change', group.id, '--runbook', file, '--json']);
    await rm(folder, { recursive: true });
    expect(JSON.parse(answer.output)).toMatchObject({ runbook: { powerOn: [{ members: [db?.id] }] } });
  });
});

describe('M6 landfall commands', () => {
  test('M6 retry takes new settings, decisions go to the group, a final that would miss an objective needs "anyway"', async () => {
    const objectives = { targetDurationSeconds: null, downtimeSecondsMax: 60 };
    const group = await insertTestMigration(api.services, { kind: 'group', objectives });
    const member = group.vmMigrations[0]?.id ?? '';
    // Another place is judged in the vCenter before the migration hears of it; the stand-in's has no such VM.
    const refused = await cli.run(['retry', member, '--limit', '8MB/s', '--network', 'VM Network=Production']);
    expect(refused.status).toBe(1);
    expect(refused.errors).toContain('(VSPHERE_INVALID_STATE, ');
    expect(api.workflows.calls.some((call) => call.startsWith(`retry ${member}`))).toBe(false);
    expect((await cli.run(['retry', member, '--limit', '8MB/s'])).status).toBe(0);
    expect(lastCall()).toMatch(new RegExp(`^retry ${member} .*"bytesPerSecondMax":"8000000"`));
    await cli.run(['go-on-without', member]);
    expect(lastCall()).toBe(`go-on-without ${group.id} ${member}`);
    await cli.run(['wait-for', member]);
    expect(lastCall()).toBe(`wait ${group.id} ${member}`);
    await setProjectedDowntime(api.services, member, 90);
    const late = await cli.run(['final', group.id, '--yes']);
    expect(late.status).toBe(1);
    expect(late.errors).toContain('(OBJECTIVE_NOT_MET, ');
    expect(lastCall()).toBe(`wait ${group.id} ${member}`);
    expect((await cli.run(['final', group.id, '--yes', '--anyway'])).status).toBe(0);
    expect(lastCall()).toBe(`final-migration ${group.id}`);
  });

  test('M6 a site is paused and resumed by its name, and listed as paused meanwhile', async () => {
    const { vmMigrations } = await insertTestMigration(api.services);
    const site = await api.database.prisma.site.findUniqueOrThrow({
      where: { id: vmMigrations[0]?.sourceSiteId ?? '' },
    });
    expect((await cli.run(['site', 'pause', site.name])).output).toContain(`${site.name} is paused`);
    expect((await cli.run(['site', 'list'])).output).toMatch(new RegExp(`${site.name} .* paused `));
    expect((await cli.run(['site', 'resume', site.name])).output).toContain(`${site.name} is going on`);
    expect((await cli.run(['site', 'list'])).output).not.toContain(' paused ');
  });
});

describe('which migration is meant: its id, or the name of its only VM', () => {
  test('the only VM of a migration stands for it', async () => {
    const { id, vmMigrations } = await insertTestMigration(api.services);
    const [name = ''] = vmMigrations.map(({ vmName }) => vmName);
    expect((await cli.run(['migrate', 'change', name, '--priority', '1'])).output).toContain(
      `${id}: Queued, priority 1`,
    );
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
});
