// What an operator can end with Temporal's own tools, and what becomes of it; then what the installation has kept and said
// of all that is searched for secrets. Machines without a guest system: power states, disks and leaks count here.

import { execFile } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { promisify } from 'node:util';
import type { Payload } from '@temporalio/common';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LeakReport, Migration, VmMigration } from '../../contracts/rest.ts';
import { compareDisks } from '../../demo/harness/compare-disks.ts';
import { showMigration, showVmMigration, startMigration } from '../../demo/harness/operations.ts';
import { writerVm } from '../../demo/harness/scenario.ts';
import { pause, waitFor } from '../../demo/harness/wait.ts';
import { openAuthority } from '../../dataplane/client/index.ts';
import { connectWorkflowEngine, type WorkflowEngine } from '../../temporal/client.ts';
import { admissionWorkflowId, janitorScheduleId } from '../../temporal/index.ts';
import { makePayloadCodec } from '../../temporal/payload-codec.ts';
import { openKeyring, payloadKeysFile, type PayloadKeyring } from '../../temporal/payload-keys.ts';
import { searchFiles, searchHistories, searchRows, wordsIn, type Find, type Words } from '../helpers/find-words.ts';
import { environmentOf } from '../helpers/worker-environment.ts';
import { openWorld, type World } from '../helpers/world.ts';

/** Ended while it is copied, ended when the destination owns it, never ended. */
const [COPYING, HANDED_OVER, LIVING] = ['trust-copying-vm', 'trust-owned-vm', 'trust-living-vm'] as const;
const names = [COPYING, HANDED_OVER, LIVING] as const;
const timeoutMs = 240_000;
/** So long the janitor lets an ended workflow's activities hear of it. */
const settleMs = 31_000;
/** A new key is in use everywhere after two seconds at the latest. */
const keyInUseMs = 2_500;

let world: World;
let engine: WorkflowEngine;
let keys: PayloadKeyring;
const answers: string[] = [];

beforeAll(async () => {
  world = await openWorld({
    wan: { bytesPerSecondMax: 25_000_000, rttMs: 5 },
    vms: names.map((name) => ({ ...writerVm({ name, capacityMib: 32, seedMib: 8, writerPauseMs: 100 }), bare: true })),
  });
  const { home } = world.installation;
  keys = await openKeyring(payloadKeysFile(home));
  engine = await connectWorkflowEngine((await environmentOf(home))['TEMPORAL_ADDRESS'] ?? '', keys);
}, 300_000);

afterAll(async () => {
  await engine?.close();
  await world?.close();
});

async function call<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
  const answer = await world.installation.call<Answer>(method, path, body);
  answers.push(JSON.stringify(answer));
  return answer;
}
const idOf = (migration: Migration): string => migration.vmMigrations[0]?.id ?? '';
const show = (migration: Migration): Promise<VmMigration> => showVmMigration(world.installation, idOf(migration));
const end = (workflowId: string): Promise<unknown> =>
  engine.client.workflow.getHandle(workflowId).terminate('ended by hand, with the tools of the engine');

function start(name: string, autoFinal: boolean, slow = false): Promise<Migration> {
  const settings = slow ? { bytesPerSecondMax: '100000' } : {};
  return startMigration(world.installation, world.sites, { vmNames: [name], autoFinal, settings });
}

function until(what: string, migration: Migration, holds: (now: VmMigration) => boolean): Promise<VmMigration> {
  const look = async (): Promise<VmMigration | undefined> => {
    const now = await show(migration);
    return holds(now) ? now : undefined;
  };
  return waitFor(what, look, { timeoutMs });
}

/** One round, to its end. */
async function runJanitor(): Promise<void> {
  const schedule = engine.client.schedule.getHandle(janitorScheduleId);
  const before = (await schedule.describe()).info.numActionsTaken;
  await schedule.trigger();
  await waitFor(
    'the janitor’s round',
    async () => {
      const { info } = await schedule.describe();
      return info.numActionsTaken > before && info.runningActions.length === 0 ? true : undefined;
    },
    { timeoutMs },
  );
}

const repairs = async (): Promise<string[]> =>
  (await call<{ items: { targetId: string }[] }>('GET', '/audit?action=janitor.repair')).items.map(
    ({ targetId }) => targetId,
  );

describe('workflows that were ended from outside', () => {
  let copying: Migration;
  let owned: Migration;
  let living: Migration;

  test('M10 what still runs, or has only begun, is never touched', async () => {
    copying = await start(COPYING, false, true);
    await world.lab.control.holdPowerOn('destination', HANDED_OVER, true);
    owned = await start(HANDED_OVER, true);
    await until('the first copy', copying, ({ state }) => state === 'Replicating disks');
    await waitFor(
      'the power-on at the destination',
      async () => ((await world.lab.control.powerOnWaits('destination', HANDED_OVER)) ? true : undefined),
      { timeoutMs },
    );
    // In the very moment in which another one begins.
    [living] = await Promise.all([start(LIVING, false), runJanitor()]);
    for (const workflowId of [admissionWorkflowId, copying.id, idOf(copying), owned.id, idOf(owned)])
      await end(workflowId);
    await runJanitor();
    expect(await repairs()).toEqual([]);
    expect((await show(copying)).endedAt).toBeNull();
  });

  test('M10 what was ended comes to a right end: undone before the hand-over, finished after it', async () => {
    await world.lab.control.holdPowerOn('destination', HANDED_OVER, false);
    await pause(settleMs);
    await runJanitor();
    const undone = await until('the end of the one that was copied', copying, ({ endedAt }) => endedAt !== null);
    expect(undone).toMatchObject({ status: 'Failed', failure: { code: 'WORKFLOW_ENDED' } });
    expect((await world.lab.control.vm('source', COPYING)).powerState).toBe('poweredOn');
    const finished = await until('the end of the one that was handed over', owned, ({ endedAt }) => endedAt !== null);
    expect(finished.status).toBe('Completed');
    expect((await world.lab.control.vm('source', HANDED_OVER)).powerState).toBe('poweredOff');
    expect((await world.lab.control.vm('destination', HANDED_OVER)).powerState).toBe('poweredOn');
    expect(await call('GET', `/vm-migrations/${idOf(owned)}/receipt`)).toHaveProperty('signature');
    const mended = [copying.id, idOf(copying), owned.id, idOf(owned)];
    expect((await repairs()).sort()).toEqual(mended.sort());
    for (const { id } of [copying, owned]) await engine.client.workflow.getHandle(id).result();
    for (const { id } of [copying, owned]) expect((await showMigration(world.installation, id)).endedAt).not.toBeNull();
    const alarms = await call<{ items: { vmMigrationId: string; code: string }[] }>('GET', '/alarms');
    expect(alarms.items).toMatchObject([{ vmMigrationId: idOf(copying), code: 'WORKFLOW_ENDED' }]);
  });

  test('M10 the other migration did not notice, and what was ended left nothing behind', async () => {
    await until('readiness', living, ({ status }) => status === 'Ready To Migrate');
    expect((await call<LeakReport>('GET', '/leaks')).items).toEqual([]);
    await call('POST', `/vm-migrations/${idOf(living)}/actions/final-migration`, {});
    await until('the end', living, ({ status }) => status === 'Completed');
    const [from, to] = [
      await world.lab.control.vm('source', LIVING),
      await world.lab.control.vm('destination', LIVING),
    ];
    expect(await compareDisks(from.disks[0]?.flatPath ?? '', to.disks[0]?.flatPath ?? '')).toBeNull();
    expect((await call<LeakReport>('GET', '/leaks')).items).toEqual([]);
  });

  test('M10 every place is free again: one limit of one VM lets the next one begin', async () => {
    await call('PATCH', '/admission', { total: 1 });
    const again = await start(COPYING, false);
    await until('the next one to begin', again, ({ startedAt }) => startedAt !== null);
    await call('POST', `/vm-migrations/${idOf(again)}/actions/terminate`, {});
    await until('its end', again, ({ status }) => status === 'Terminated');
    await call('PATCH', '/admission', { total: null });
  });
});

/** Of all agents that there were; hosts have got theirs through vCenter. */
async function enrolmentSecrets(home: string): Promise<[string, string][]> {
  const authority = await openAuthority(join(home, 'authority'));
  const { items } = await call<{ items: { vmMigrations: { id: string }[] }[] }>('GET', '/migrations');
  const receivers = items.flatMap(({ vmMigrations }) => vmMigrations.map(({ id }) => ['receiver', id] as const));
  const hosts = (await queryAgents()).map((id) => ['host', id] as const);
  return [...receivers, ...hosts].map(([role, id]) => [
    `enrolment secret of ${role} ${id}`,
    authority.enrolSecretFor(role, id, 1),
  ]);
}

async function databaseUrl(): Promise<string> {
  return (await environmentOf(world.installation.home))['DATABASE_URL'] ?? '';
}

async function queryAgents(): Promise<string[]> {
  const client = new pg.Client({ connectionString: await databaseUrl() });
  await client.connect();
  try {
    return (await client.query<{ id: string }>(`SELECT id FROM agent WHERE role = 'host'`)).rows.map(({ id }) => id);
  } finally {
    await client.end();
  }
}

describe('secrets', () => {
  let secrets: Words;
  let vmNames: Words;

  beforeAll(async () => {
    const { home } = world.installation;
    const json = async (...path: string[]) =>
      JSON.parse(await readFile(join(home, ...path), 'utf8')) as Record<string, string>;
    const [authority, cli] = [await json('authority', 'authority.json'), await json('cli.json')];
    const pem = (text = ''): string => text.split('\n')[1] ?? '';
    secrets = new Map([
      ['password of the source', world.lab.source.password],
      ['password of the destination', world.lab.destination.password],
      ['API token', cli['token'] ?? ''],
      ['key of the authority', pem(authority['privateKeyPem'])],
      ['key of receipts', pem(authority['receiptPrivateKeyPem'])],
      ['key of what is sealed', authority['encryptionKey'] ?? ''],
      ['password of the database', await readFile(join(home, 'run', 'postgres-password'), 'utf8')],
      ...(await enrolmentSecrets(home)),
      ...keys.all.map(({ id, key }) => [`payload key ${id}`, key.toString('base64')] as const),
    ]);
    for (const [what, secret] of secrets) expect(secret.length, what).toBeGreaterThan(15);
    vmNames = new Map(names.map((name) => [name, name]));
  });

  /** The keys with which these payloads were encrypted. */
  const keyIdsOf = (payloads: readonly Payload[] | null | undefined): string[] =>
    (payloads ?? []).map(({ metadata }) => Buffer.from(metadata?.['key-id'] ?? []).toString());

  test('a new key is used by the API and by the worker without a restart', async () => {
    const { id } = await call<{ id: string }>('POST', '/payload-keys');
    await pause(keyInUseMs);
    const migration = await start(COPYING, false);
    await until(
      'it to run',
      migration,
      ({ state }) => state === 'Replicating disks' || state === 'Ready for final migration',
    );
    await call('POST', `/vm-migrations/${idOf(migration)}/actions/terminate`, {});
    await until('its end', migration, ({ status }) => status === 'Terminated');
    const eventsOf = async (workflowId: string) =>
      (await engine.client.workflow.getHandle(workflowId).fetchHistory()).events ?? [];
    // The API starts the queue, which starts the VM's workflow; what activities answer is encrypted by the worker.
    const [started] = await eventsOf(migration.id);
    expect(keyIdsOf(started?.workflowExecutionStartedEventAttributes?.input?.payloads)).toEqual([id]);
    const answered = (await eventsOf(idOf(migration))).flatMap((event) =>
      keyIdsOf(event.activityTaskCompletedEventAttributes?.result?.payloads),
    );
    expect(answered.length).toBeGreaterThan(5);
    expect(new Set(answered)).toEqual(new Set([id]));
  });

  test('no history holds one, raw or opened, nor a name of a VM that the engine could read', async () => {
    const { finds, payloads } = await searchHistories(engine.client, makePayloadCodec(keys), {
      raw: new Map([...secrets, ...vmNames]),
      open: secrets,
    });
    expect(payloads).toBeGreaterThan(200);
    expect(finds).toEqual([]);
    // The search can find: what is looked for does stand in there, once it is opened.
    const control = await searchHistories(engine.client, makePayloadCodec(keys), { raw: new Map(), open: vmNames });
    expect(control.finds.length).toBeGreaterThan(0);
  });

  test('no row of the database and no file but those that are made for it holds one', async () => {
    const { home } = world.installation;
    const { finds, rows } = await searchRows(await databaseUrl(), secrets);
    expect(rows).toBeGreaterThan(100);
    expect(finds).toEqual([]);
    const isLog = (path: string): boolean => path.endsWith('.log') || path.startsWith(home);
    const made = [`authority${sep}`, 'cli.json', join('run', 'postgres-password'), join('run', 'worker.env')].map(
      (path) => join(home, path),
    );
    for (const path of made.filter((name) => !name.endsWith(sep)))
      expect((await stat(path)).mode & 0o077, path).toBe(0);
    const inFiles: Find[] = await searchFiles(
      world.home,
      secrets,
      (path) => !isLog(path) || made.some((start) => path.startsWith(start)),
    );
    expect(inFiles).toEqual([]);
  });

  test('no answer of the API and no word of the command line holds one', async () => {
    const paths = [
      '/sites',
      '/clusters',
      '/migrations',
      '/audit',
      '/alarms?all=true',
      '/tokens',
      '/payload-keys',
      '/installation',
      '/admission',
    ];
    for (const path of paths) await call('GET', path);
    const run = promisify(execFile);
    const env = { ...process.env, LANDFALL_HOME: world.installation.home, LANDFALL_URL: '', LANDFALL_TOKEN: '' };
    for (const words of [
      'site list',
      'alarms --all',
      'audit',
      'keys list',
      'migrate list',
      'info',
      'limits',
      'token list',
    ]) {
      const { stdout, stderr } = await run(process.execPath, ['dist/cli/main.js', ...words.split(' ')], { env });
      answers.push(stdout, stderr);
    }
    expect(answers.join('\n')).toContain(COPYING);
    expect(wordsIn(answers.join('\n'), secrets)).toEqual([]);
  });
});
