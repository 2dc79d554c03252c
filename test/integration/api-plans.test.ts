// What is planned for a migration and the commands to it, over REST: changed while it runs, refused with the reason, gated by
// objectives, once per key, with who did it in the audit log.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MigrationError, type ErrorCode } from '../../core/index.ts';
import { listAudit, newId, setPhase, type MigrationWithMembers } from '../../db/index.ts';
import { startTestApi, type Answered, type TestApi } from '../helpers/api.ts';
import { insertTestMigration, setProjectedDowntime } from '../helpers/records.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api?.close());

const memberOf = ({ vmMigrations }: MigrationWithMembers): string => vmMigrations[0]?.id ?? '';
const judged = ({ status, body }: Answered) => [status, body.code];
const patch = (id: string, body: object) => api.call('PATCH', `/api/v1/migrations/${id}`, { body });
const act = (id: string, action: string, body: object = {}, headers = {}) =>
  api.call('POST', `/api/v1/${id.startsWith('mig_') ? 'migrations' : 'vm-migrations'}/${id}/actions/${action}`, {
    body,
    headers,
  });
const auditOf = async (targetId: string) =>
  (await listAudit(api.database.prisma, { targetId, limit: 20 })).map(({ action, outcome }) => `${action} ${outcome}`);
async function refusing<Result>(code: ErrorCode, work: () => Promise<Result>): Promise<Result> {
  api.workflows.fail = new MigrationError(code);
  return work().finally(() => (api.workflows.fail = undefined));
}
const projects = (id: string, downtimeSeconds: number) => setProjectedDowntime(api.services, id, downtimeSeconds);
const window = { from: '2027-03-06T22:00:00.000Z', until: '2027-03-07T04:00:00.000Z' };

describe('M1 what is asked for', () => {
  test.each([
    ['a group that begins its final by itself', { kind: 'group', final: { mode: 'auto' } }],
    ['a runbook without a group', { runbook: {} }],
    ['a priority that there is not', { priority: 0 }],
    ['more at once than are allowed', { concurrency: 1000 }],
    ['a field that there is not', { autoFinal: true }],
    ['a VM twice', {}, 2],
    ['no VM', {}, 0],
  ])('M1 %s is refused before anything is looked at', async (_what, more, count = 1) => {
    const site = newId('site');
    const vms = Array.from({ length: count }, () => ({ siteId: site, moref: 'vm-1' }));
    const destination = { siteId: newId('site'), clusterMoref: 'domain-c1', datastoreMoref: 'datastore-1' };
    const body = { kind: 'independent', vms, destination, ...more };
    expect(judged(await api.call('POST', '/api/v1/migrations', { body }))).toEqual([400, 'INVALID_INPUT']);
    expect(
      await api.database.prisma.migration.count({
        where: { destination: { path: ['siteId'], equals: destination.siteId } },
      }),
    ).toBe(0);
  });

  test('M1 a destination on the site of the VMs is refused', async () => {
    const [{ sourceSiteId: siteId } = {}] = (await insertTestMigration(api.services)).vmMigrations;
    const destination = { siteId, clusterMoref: 'domain-c1', datastoreMoref: 'datastore-1' };
    const body = { kind: 'group', vms: [{ siteId, moref: 'vm-1' }], destination };
    const answer = await api.call('POST', '/api/v1/migrations', { body });
    expect(answer.body.errors).toEqual([
      { pointer: '/destination/siteId', message: 'must be another site than that of the VMs' },
    ]);
  });
});

describe('M9 what is planned', () => {
  test('M9 the final is begun by itself, within a window or by hand, changed while it runs', async () => {
    const { id } = await insertTestMigration(api.services);
    for (const final of [
      { mode: 'auto', windows: [] },
      { mode: 'window', windows: [window] },
      { mode: 'manual', windows: [] },
    ]) {
      const answer = await patch(id, { final });
      expect([answer.status, answer.body['final']]).toEqual([200, final]);
    }
    const wrong = [
      { final: { mode: 'window' } },
      { final: { mode: 'window', windows: [{ from: window.until, until: window.from }] } },
      { final: { mode: 'tomorrow' } },
      {},
    ];
    for (const change of wrong) expect(judged(await patch(id, change))).toEqual([400, 'INVALID_INPUT']);
    expect(await auditOf(id)).toEqual(Array(3).fill('migration.change done'));
  });

  test('M9 objectives and shut-down are changed; what is not named stays', async () => {
    const { id } = await insertTestMigration(api.services);
    const objectives = { targetDurationSeconds: 7200, downtimeSecondsMax: 120 };
    await patch(id, { objectives });
    const answer = await patch(id, { shutDown: { timeoutSeconds: 60, onTimeout: 'power-off' } });
    expect(answer.body['objectives']).toEqual(objectives);
    const row = await api.database.prisma.migration.findUniqueOrThrow({ where: { id } });
    expect(row.options).toMatchObject({ shutDown: { timeoutSeconds: 60, onTimeout: 'power-off' } });
    const [audit] = await listAudit(api.database.prisma, { targetId: id, limit: 1 });
    expect(audit).toMatchObject({ action: 'migration.change', details: { shutDown: { onTimeout: 'power-off' } } });
    expect(audit?.principalId).toMatch(/^tok_/);
  });

  test('M4 a group takes another runbook until its final begins, and is finished by hand only', async () => {
    const group = await insertTestMigration(api.services, { kind: 'group', names: ['db', 'web'] });
    const [db, web] = group.vmMigrations;
    const vms = [{ siteId: db?.sourceSiteId, moref: db?.vmMoref }];
    const answer = await patch(group.id, { runbook: { powerOn: [{ vms, waitFor: 'address' }] } });
    expect(answer.body['runbook']).toMatchObject({ powerOn: [{ members: [db?.id], waitFor: 'address' }] });
    const stranger = await patch(group.id, {
      runbook: { shutDown: [{ vms: [{ siteId: db?.sourceSiteId, moref: 'vm-99' }] }] },
    });
    expect(judged(stranger)).toEqual([400, 'INVALID_INPUT']);
    expect(judged(await patch(group.id, { final: { mode: 'auto' } }))).toEqual([409, 'PHASE_DISALLOWS']);
    for (const id of [db?.id ?? '', web?.id ?? '']) await setPhase(api.database, id, { step: 'freeze' });
    expect(judged(await patch(group.id, { runbook: {} }))).toEqual([409, 'FINAL_UNDER_WAY']);
    const queue = await insertTestMigration(api.services);
    expect(judged(await patch(queue.id, { runbook: {} }))).toEqual([409, 'PHASE_DISALLOWS']);
    await setPhase(api.database, memberOf(queue), { step: 'ended', state: 'Terminated' });
    expect(judged(await patch(queue.id, { priority: 1 }))).toEqual([409, 'ALREADY_ENDED']);
  });

  test('M9 a final that would miss an objective needs "anyway"', async () => {
    const objectives = { targetDurationSeconds: null, downtimeSecondsMax: 60 };
    const single = await insertTestMigration(api.services, { objectives });
    const group = await insertTestMigration(api.services, { kind: 'group', names: ['db', 'web'], objectives });
    for (const [migration, id] of [
      [single, memberOf(single)],
      [group, group.id],
    ] as const) {
      await projects(memberOf(migration), 90);
      const refused = await act(id, 'final-migration');
      expect(judged(refused)).toEqual([409, 'OBJECTIVE_NOT_MET']);
      expect(refused.body.detail).toMatch(/At most 60 s are allowed; projected: \S+ 90 s\./);
      expect((await act(id, 'final-migration', { anyway: true })).status).toBe(202);
      await projects(memberOf(migration), 50);
      expect((await act(id, 'final-migration')).status).toBe(202);
      expect(await auditOf(id)).toEqual([
        ...Array<string>(2).fill(`${id.startsWith('mig_') ? '' : 'vm-'}migration.final-migration accepted`),
        `${id.startsWith('mig_') ? '' : 'vm-'}migration.final-migration refused`,
      ]);
      expect(api.workflows.calls.filter((call) => call === `final-migration ${id}`)).toHaveLength(2);
    }
  });
});

describe('M6 commands', () => {
  test.each(['terminate', 'pause', 'resume', 'shut-down-guest', 'final-migration'])(
    'M6 %s is told to a group and to one VM; refused with the reason of the workflow; only a final takes "anyway"',
    async (action) => {
      const group = await insertTestMigration(api.services, { kind: 'group' });
      const code = action === 'final-migration' ? 'FINAL_NOT_READY' : 'PHASE_DISALLOWS';
      for (const id of [group.id, memberOf(group)]) {
        const answer = await act(id, action);
        expect([answer.status, answer.body]).toEqual([202, { id, action, accepted: true }]);
        expect(api.workflows.calls.at(-1)).toBe(`${action} ${id}`);
        expect(judged(await refusing(code, () => act(id, action)))).toEqual([409, code]);
        expect((await act(id, action, { anyway: true })).status).toBe(action === 'final-migration' ? 202 : 400);
      }
    },
  );

  test('M6 members of a queue are given a final and a shut-down one by one', async () => {
    const { id } = await insertTestMigration(api.services);
    for (const action of ['final-migration', 'shut-down-guest']) {
      expect(judged(await act(id, action))).toEqual([409, 'PHASE_DISALLOWS']);
    }
    expect(await auditOf(id)).toEqual(['migration.shut-down-guest refused', 'migration.final-migration refused']);
  });

  test('M3 a decision about a member is told to its group, also when the member has ended; a queue has none', async () => {
    const group = await insertTestMigration(api.services, { kind: 'group', names: ['db', 'web'] });
    const member = memberOf(group);
    await setPhase(api.database, member, { step: 'ended', state: 'Terminated' });
    for (const decision of ['wait', 'go-on-without']) {
      expect((await act(member, decision)).status).toBe(202);
      expect(api.workflows.calls.at(-1)).toBe(`${decision} ${group.id} ${member}`);
    }
    expect(judged(await refusing('FINAL_UNDER_WAY', () => act(member, 'wait')))).toEqual([409, 'FINAL_UNDER_WAY']);
    const single = memberOf(await insertTestMigration(api.services));
    expect(judged(await act(single, 'wait'))).toEqual([409, 'PHASE_DISALLOWS']);
    expect(await auditOf(member)).toEqual([
      'vm-migration.wait refused',
      'vm-migration.go-on-without accepted',
      'vm-migration.wait accepted',
    ]);
  });

  test('M6 a retry passes on what is changed with it; nothing is a change of its own', async () => {
    const member = memberOf(await insertTestMigration(api.services));
    expect((await act(member, 'retry')).status).toBe(202);
    expect(api.workflows.calls.at(-1)).toBe(`retry ${member} {}`);
    const settings = { replicationRate: 20 };
    expect((await act(member, 'retry', { settings })).status).toBe(202);
    expect(api.workflows.calls.at(-1)).toContain('"settings":{"replicationRate":20,"writeThrottling":0');
    const [audit] = await listAudit(api.database.prisma, { targetId: member, limit: 1 });
    expect(audit).toMatchObject({ action: 'vm-migration.retry', outcome: 'accepted', details: { settings } });
    expect(judged(await act(member, 'retry', { destination: {} }))).toEqual([400, 'INVALID_INPUT']);
    expect(judged(await act(member, 'retry', { datastore: 'x' }))).toEqual([400, 'INVALID_INPUT']);
    expect(judged(await refusing('PHASE_DISALLOWS', () => act(member, 'retry')))).toEqual([409, 'PHASE_DISALLOWS']);
  });

  test('M6 the same command with the same key is given once; another with that key is refused', async () => {
    const group = await insertTestMigration(api.services, { kind: 'group' });
    const key = { 'idempotency-key': `final-${group.id}` };
    const answers = [await act(group.id, 'final-migration', {}, key), await act(group.id, 'final-migration', {}, key)];
    expect(answers.map(({ status }) => status)).toEqual([202, 202]);
    expect(answers[1]?.text).toBe(answers[0]?.text);
    expect(api.workflows.calls.filter((call) => call === `final-migration ${group.id}`)).toHaveLength(1);
    for (const [action, body] of [
      ['final-migration', { anyway: true }],
      ['terminate', {}],
    ] as const) {
      expect(judged(await act(group.id, action, body, key))).toEqual([409, 'IDEMPOTENCY_KEY_REUSED']);
    }
    expect(await auditOf(group.id)).toEqual(['migration.final-migration accepted']);
  });
});
