// Turns over REST: the queue while it runs, limits, priorities, places in line, and a whole site that is paused.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keepStartingQueued } from '../../api/index.ts';
import type { Migration, VmMigration } from '../../contracts/rest.ts';
import { MigrationError } from '../../core/index.ts';
import { listAudit, newId, readTokens, setPhase, setWaitingFor } from '../../db/index.ts';
import { startTestApi, type TestApi } from '../helpers/api.ts';
import { insertTestMigration } from '../helpers/records.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api?.close());

const auditOf = async (targetId: string) =>
  (await listAudit(api.database.prisma, { targetId, limit: 20 })).map(({ action, outcome }) => `${action} ${outcome}`);
const show = async (id: string) => (await api.call('GET', `/api/v1/migrations/${id}`)).body as unknown as Migration;
const showVm = async (id: string) =>
  (await api.call('GET', `/api/v1/vm-migrations/${id}`)).body as unknown as VmMigration;
const queue = async () => {
  const made = await insertTestMigration(api.services, { names: ['a', 'b', 'c'] });
  const [a = '', b = '', c = ''] = made.vmMigrations.map(({ id }) => id);
  return { id: made.id, a, b, c };
};
const calls = (about: string) => api.workflows.calls.filter((call) => call.includes(about));
const change = (id: string, body: object, headers = {}) =>
  api.call('POST', `/api/v1/migrations/${id}/queue`, { body, headers });

describe('M5 the queue', () => {
  test('M5 moves, holds, lets go, removes and sets how many run at once, each told to the queue and kept with who did it', async () => {
    const { id, a, b, c } = await queue();
    const changes = [
      { kind: 'move', vmMigrationId: c, before: a },
      { kind: 'move', vmMigrationId: a, before: null },
      { kind: 'hold', vmMigrationId: b },
      { kind: 'let-go', vmMigrationId: b },
      { kind: 'remove', vmMigrationId: b },
      { kind: 'concurrency', concurrency: 4 },
    ];
    for (const body of changes) expect((await change(id, body)).status).toBe(202);
    expect(calls(`queue ${id}`).map((call) => JSON.parse(call.slice(`queue ${id} `.length)) as unknown)).toEqual([
      { kind: 'move', id: c, before: a },
      { kind: 'move', id: a, before: null },
      { kind: 'hold', id: b },
      { kind: 'let-go', id: b },
      { kind: 'remove', id: b },
      { kind: 'concurrency', concurrency: 4 },
    ]);
    const rows = await listAudit(api.database.prisma, { targetId: id, limit: 20 });
    const kept = changes.map(({ kind }) => ({ action: `migration.queue-${kind}`, outcome: 'accepted' }));
    expect(rows).toMatchObject(kept.toReversed());
    for (const { principalId } of rows) expect(principalId).toMatch(/^tok_/);
  });

  test('M5 what the queue refuses is refused with its reason, and kept', async () => {
    const { id, a } = await queue();
    api.workflows.fail = new MigrationError('MEMBER_NOT_WAITING', `${a} is not waiting in this queue`);
    const answer = await change(id, { kind: 'hold', vmMigrationId: a });
    api.workflows.fail = undefined;
    expect([answer.status, answer.body.code, answer.body.detail]).toEqual([
      409,
      'MEMBER_NOT_WAITING',
      `${a} is not waiting in this queue`,
    ]);
    expect(await auditOf(id)).toEqual(['migration.queue-hold refused']);
    expect((await change(id, { kind: 'concurrency', concurrency: 0 })).status).toBe(400);
  });

  test('M5 a group has no queue and cannot grow, and what has ended takes no change', async () => {
    const group = await insertTestMigration(api.services, { kind: 'group' });
    const member = group.vmMigrations[0]?.id ?? '';
    const refused = await change(group.id, { kind: 'hold', vmMigrationId: member });
    expect([refused.status, refused.body.code]).toEqual([409, 'PHASE_DISALLOWS']);
    const vms = [{ siteId: group.vmMigrations[0]?.sourceSiteId, moref: 'vm-9' }];
    const grown = await api.call('POST', `/api/v1/migrations/${group.id}/members`, { body: { vms } });
    expect([grown.status, grown.body.detail]).toEqual([409, 'A group cannot grow.']);
    await setPhase(api.database, member, { step: 'ended', state: 'Terminated' });
    expect((await change(group.id, { kind: 'hold', vmMigrationId: member })).body.code).toBe('ALREADY_ENDED');
    const late = await api.call('POST', `/api/v1/migrations/${group.id}/members`, { body: { vms } });
    expect(late.body.code).toBe('ALREADY_ENDED');
  });

  test('M5 the same change with the same key is one change; another with that key is refused', async () => {
    const { id, a, b } = await queue();
    const key = { 'idempotency-key': `queue-${id}` };
    const first = await change(id, { kind: 'hold', vmMigrationId: a }, key);
    const second = await change(id, { kind: 'hold', vmMigrationId: a }, key);
    expect(second.text).toBe(first.text);
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    const other = await change(id, { kind: 'hold', vmMigrationId: b }, key);
    expect([other.status, other.body.code]).toEqual([409, 'IDEMPOTENCY_KEY_REUSED']);
    expect(calls(`queue ${id}`)).toHaveLength(1);
    expect(await auditOf(id)).toEqual(['migration.queue-hold accepted']);
  });

  test('M5 every member that waits says for what, and its place', async () => {
    const { id, a, b, c } = await queue();
    await setPhase(api.database, a, { step: 'queued', waitingFor: 'its turn' });
    await setWaitingFor(api.database.prisma, [{ id: a, waitingFor: 'total: 1 of 1 in use, next in line', place: 1 }]);
    await api.database.prisma.vmMigration.update({ where: { id: b }, data: { held: true } });
    const waits = (await show(id)).vmMigrations.map(({ waitingFor, place }) => [waitingFor, place]);
    expect(waits).toEqual([
      ['total: 1 of 1 in use, next in line', 1],
      ['to be let go', null],
      ['its turn in the queue', 1],
    ]);
    expect(await showVm(c)).toMatchObject({ waitingFor: 'its turn in the queue', place: 1 });
    // What admission has said stays when the migration says that it waits for its turn.
    await setPhase(api.database, a, { step: 'queued', waitingFor: 'its turn' });
    expect(await showVm(a)).toMatchObject({ waitingFor: 'total: 1 of 1 in use, next in line', place: 1 });
    const report = await api.call('GET', '/api/v1/admission');
    expect(report.body['waiting']).toContainEqual({
      id: a,
      waitingFor: 'total: 1 of 1 in use, next in line',
      place: 1,
    });
    await setPhase(api.database, a, { step: 'agentIso' });
    expect(await showVm(a)).toMatchObject({ waitingFor: null, place: null });
  });
});

describe('B6 limits and priorities', () => {
  test('B6 a limit is changed, told to admission, and taken back to its default', async () => {
    const raised = await api.call('PATCH', '/api/v1/admission', { body: { link: 20, 'host:site_1/host-9': 2 } });
    expect([raised.status, raised.body]).toEqual([
      200,
      { total: 400, host: 32, datastore: 64, link: 20, starts: 2, 'host:site_1/host-9': 2 },
    ]);
    expect(calls('capacities').at(-1)).toContain('"link":20');
    const back = await api.call('PATCH', '/api/v1/admission', { body: { link: null, 'host:site_1/host-9': null } });
    expect(back.body).toEqual({ total: 400, host: 32, datastore: 64, link: 100, starts: 2 });
    expect((await api.call('PATCH', '/api/v1/admission', { body: { speed: 1 } })).status).toBe(400);
    expect(await auditOf('admission')).toEqual(['admission.change done', 'admission.change done']);
  });

  test('B6 a limit that admission could not be told is told by a later round', async () => {
    api.workflows.fail = new Error('the engine is away');
    expect((await api.call('PATCH', '/api/v1/admission', { body: { total: 7 } })).status).toBe(200);
    api.workflows.fail = undefined;
    api.workflows.calls.length = 0;
    const stop = keepStartingQueued(api.services);
    try {
      await expect.poll(() => calls('"total":7'), { timeout: 30_000 }).toHaveLength(1);
    } finally {
      stop();
    }
    await api.call('PATCH', '/api/v1/admission', { body: { total: null } });
  });

  test('M5 a priority is changed while something waits, and told to admission; afterwards it is refused', async () => {
    const { id, a, b, c } = await queue();
    const answer = await api.call('PATCH', `/api/v1/migrations/${id}`, { body: { priority: 1 } });
    expect([answer.status, answer.body['priority']]).toEqual([200, 1]);
    expect(calls('priorities').at(-1)).toContain(`"${id}":1`);
    for (const member of [a, b, c]) await setPhase(api.database, member, { step: 'agentIso' });
    const late = await api.call('PATCH', `/api/v1/migrations/${id}`, { body: { priority: 2 } });
    expect([late.status, late.body.code]).toEqual([409, 'PHASE_DISALLOWS']);
    expect((await api.call('PATCH', `/api/v1/migrations/${id}`, { body: { priority: 6 } })).status).toBe(400);
  });
});

describe('M6 a whole site', () => {
  const act = (siteId: string, action: string) => api.call('POST', `/api/v1/sites/${siteId}/actions/${action}`);
  const told = (siteId: string) => calls('capacities').at(-1)?.includes(`"site:${siteId}":0`);

  test('M6 it is paused and resumed; the same again is accepted and changes nothing; who did it is kept', async () => {
    const { vmMigrations } = await insertTestMigration(api.services);
    const [{ id = '', sourceSiteId: site = '' } = {}] = vmMigrations;
    const before = await api.database.prisma.event.count({ where: { type: 'site.changed' } });
    for (const action of ['pause', 'pause']) expect((await act(site, action)).status).toBe(202);
    expect(told(site)).toBe(true);
    expect((await api.call('GET', `/api/v1/sites/${site}`)).body['pausedAt']).toMatch(/^20/);
    expect(await api.database.prisma.event.count({ where: { type: 'site.changed' } })).toBe(before + 1);
    // A step that is about to begin is told to wait, and waits until it has looked again.
    expect(await setPhase(api.database, id, { step: 'agentIso', mayWait: true })).toMatch(/^from-/);
    const final = await api.call('POST', `/api/v1/vm-migrations/${id}/actions/final-migration`);
    expect([final.status, final.body.code]).toEqual([409, 'PHASE_DISALLOWS']);
    expect(final.body.detail).toMatch(/the site from-.* to be resumed/);
    for (const action of ['resume', 'resume']) expect((await act(site, action)).status).toBe(202);
    expect(told(site)).toBe(false);
    expect(calls(`site-resumed ${id}`)).not.toHaveLength(0);
    expect(await setPhase(api.database, id, { step: 'agentIso', mayWait: true })).toBeNull();
    api.workflows.calls.length = 0;
    await act(site, 'resume');
    expect(calls(`site-resumed ${id}`)).toEqual([]);
    expect(await auditOf(site)).toEqual([
      ...Array<string>(3).fill('site.resume accepted'),
      ...Array<string>(2).fill('site.pause accepted'),
    ]);
  });

  test('M6 what was killed half way is made good by a later round', async () => {
    const { vmMigrations } = await insertTestMigration(api.services);
    const [{ id = '', sourceSiteId: site = '' } = {}] = vmMigrations;
    api.workflows.fail = new Error('the engine is away');
    expect((await act(site, 'pause')).status).toBe(202);
    await setPhase(api.database, id, { step: 'agentIso', mayWait: true });
    expect(await readTokens(api.database.prisma)).toMatchObject({ [`site:${site}`]: 0 });
    expect((await act(site, 'resume')).status).toBe(202);
    api.workflows.fail = undefined;
    api.workflows.calls.length = 0;
    const stop = keepStartingQueued(api.services);
    try {
      await expect.poll(() => calls(`site-resumed ${id}`), { timeout: 30_000 }).toHaveLength(1);
    } finally {
      stop();
    }
    expect(told(site)).toBe(false);
  });

  test('M6 an unknown site is not found, and a token without the scope may not', async () => {
    const stranger = newId('site');
    expect((await act(stranger, 'pause')).status).toBe(404);
    const token = await api.tokenWith(['sites:write']);
    const answer = await api.call('POST', `/api/v1/sites/${stranger}/actions/pause`, { token });
    expect(answer.status).toBe(403);
  });
});
