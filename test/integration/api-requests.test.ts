// What a request leaves behind: once-only effects, audit rows with their mutations, settings, commands, secrets nowhere.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keepStartingQueued } from '../../api/index.ts';
import { MigrationError } from '../../core/index.ts';
import { listAudit } from '../../db/index.ts';
import { startTestApi, type TestApi } from '../helpers/api.ts';
import { rowsOf } from '../helpers/database-rows.ts';
import { insertTestMigration, insertTestSite } from '../helpers/records.ts';

let api: TestApi;
const plantedPassword = `planted-${randomUUID()}`;

beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api?.close());

const siteBody = (name: string) => ({
  name,
  address: 'vcenter.example',
  user: 'administrator@vsphere.local',
  password: plantedPassword,
  thumbprintSha256: Array<string>(32).fill('5a').join(':'),
});
const auditOf = (targetId: string) => listAudit(api.database.prisma, { targetId, limit: 10 });

describe('S1 registering a site', () => {
  test('a vCenter whose clock is wrong is refused, and nothing is stored', async () => {
    api.vcenter.clock = () => new Date(Date.now() + 6 * 60_000);
    const answer = await api.call('POST', '/api/v1/sites', { body: siteBody('late') });
    api.vcenter.clock = () => new Date();
    expect([answer.status, answer.body.code]).toEqual([422, 'VSPHERE_CLOCK_DIFFERS']);
    expect(await api.database.prisma.site.count()).toBe(0);
  });

  test('missing privileges are named, and nothing is stored', async () => {
    api.vcenter.missingPrivileges = ['Datastore.AllocateSpace', 'Host.Config.Patch'];
    const answer = await api.call('POST', '/api/v1/sites', { body: siteBody('weak') });
    api.vcenter.missingPrivileges = [];
    expect(answer.body.code).toBe('VSPHERE_NO_PERMISSION');
    expect(answer.body.detail).toMatch(/Datastore\.AllocateSpace.*Host\.Config\.Patch/);
    expect(await api.database.prisma.site.count()).toBe(0);
  });

  test('what the vCenter refuses is refused with its code', async () => {
    api.vcenter.refuse = new MigrationError('VSPHERE_LOGIN_FAILED', 'Login failure');
    const answer = await api.call('POST', '/api/v1/sites', { body: siteBody('wrong') });
    api.vcenter.refuse = undefined;
    expect([answer.status, answer.body.code]).toEqual([422, 'VSPHERE_LOGIN_FAILED']);
  });

  test('a registered site has an audit row, and its password is nowhere in clear', async () => {
    const answer = await api.call('POST', '/api/v1/sites', {
      body: siteBody('good'),
      headers: { 'idempotency-key': 'register-1' },
    });
    expect(answer.status).toBe(201);
    expect(api.vcenter.logins.at(-1)?.password).toBe(plantedPassword);
    const [row] = await auditOf(String(answer.body['id']));
    expect(row).toMatchObject({
      action: 'site.register',
      outcome: 'done',
      requestId: answer.headers.get('x-request-id'),
    });
    await api.call('POST', '/api/v1/sites', { body: siteBody('good') });
    const seen = [
      answer.text,
      (await api.call('GET', '/api/v1/sites')).text,
      (await api.call('GET', '/api/v1/audit')).text,
    ];
    for await (const { row } of rowsOf(api.database.pool)) seen.push(row);
    expect(seen.length).toBeGreaterThan(10);
    for (const text of [...seen, api.logText()]) {
      expect(text).not.toContain(plantedPassword);
      expect(text).not.toContain(api.token);
    }
  });

  test('a site that is taken twice leaves one row and no second audit row', async () => {
    const answer = await api.call('POST', '/api/v1/sites', { body: siteBody('twice') });
    expect([answer.status, answer.body.code]).toEqual([409, 'SITE_EXISTS']);
    const rows = await listAudit(api.database.prisma, { action: 'site.register', limit: 10 });
    expect(rows).toHaveLength(1);
  });

  test('S2 a site can be forgotten, with its credentials', async () => {
    const { id } = await insertTestSite(api.services, 'going');
    expect((await api.call('DELETE', `/api/v1/sites/${id}`)).status).toBe(204);
    expect((await api.call('GET', `/api/v1/sites/${id}`)).status).toBe(404);
    expect((await auditOf(id))[0]?.action).toBe('site.remove');
  });
});

describe('Idempotency-Key', () => {
  const create = (key: string, name: string) =>
    api.call('POST', '/api/v1/tokens', { body: { name, scopes: ['audit:read'] }, headers: { 'idempotency-key': key } });

  test('a secret is not given twice, and nothing is made twice', async () => {
    const before = await api.database.prisma.apiToken.count();
    expect((await create('k-1', 'once')).status).toBe(201);
    const again = await create('k-1', 'once');
    expect([again.status, again.body.code]).toEqual([409, 'ANSWER_WITHHELD']);
    expect(await api.database.prisma.apiToken.count()).toBe(before + 1);
  });

  test('the same key with another request is refused', async () => {
    await create('k-2', 'one');
    const other = await create('k-2', 'other');
    expect([other.status, other.body.code]).toEqual([409, 'IDEMPOTENCY_KEY_REUSED']);
  });

  test('a command is given once and answered alike', async () => {
    const { vmMigrations } = await insertTestMigration(api.services);
    const path = `/api/v1/vm-migrations/${vmMigrations[0]?.id}/actions/terminate`;
    const ask = () => api.call('POST', path, { body: {}, headers: { 'idempotency-key': 'k-3' } });
    const [first, second] = [await ask(), await ask()];
    expect([first.status, second.status]).toEqual([202, 202]);
    expect(second.text).toBe(first.text);
    expect(second.headers.get('idempotency-replayed')).toBe('true');
    expect(second.headers.get('location')).toBe(first.headers.get('location'));
    expect(api.workflows.calls.filter((call) => call === `terminate ${vmMigrations[0]?.id}`)).toHaveLength(1);
  });

  test('two at the same time have one effect', async () => {
    const before = await api.database.prisma.apiToken.count();
    const answers = await Promise.all([create('k-4', 'race'), create('k-4', 'race')]);
    expect(answers.map((answer) => answer.status).sort()).toEqual([201, 409]);
    expect(await api.database.prisma.apiToken.count()).toBe(before + 1);
  });

  test('a refused request may be sent again with its key', async () => {
    const { vmMigrations } = await insertTestMigration(api.services);
    const path = `/api/v1/vm-migrations/${vmMigrations[0]?.id}/actions/final-migration`;
    const ask = () => api.call('POST', path, { body: {}, headers: { 'idempotency-key': 'k-5' } });
    api.workflows.fail = new MigrationError('FINAL_NOT_READY');
    expect((await ask()).body.code).toBe('FINAL_NOT_READY');
    api.workflows.fail = undefined;
    expect((await ask()).status).toBe(202);
  });

  describe('when the API process died before it answered', () => {
    /** As the records are then: claimed, not answered, by a process that may live or not. */
    const unanswered = (key: string, claim: { readonly claimedBy: bigint | null; readonly claimId?: string }) =>
      api.database.prisma.idempotencyKey.updateMany({ where: { key }, data: { status: null, ...claim } });
    const terminate = async (key: string) => {
      const { vmMigrations } = await insertTestMigration(api.services);
      const path = `/api/v1/vm-migrations/${vmMigrations[0]?.id}/actions/terminate`;
      return () => api.call('POST', path, { body: {}, headers: { 'idempotency-key': key } });
    };

    test('a repeat goes on at once, under the same claim', async () => {
      const ask = await terminate('k-6');
      await ask();
      await unanswered('k-6', { claimedBy: 4711n });
      expect((await ask()).status).toBe(202);
      const [first, second] = api.workflows.claims.slice(-2);
      expect(first).toMatch(/^[0-9a-f-]{36}$/);
      expect(second).toBe(first);
    });

    test('a living process is waited for', async () => {
      const ask = await terminate('k-7');
      await ask();
      await unanswered('k-7', { claimedBy: api.services.presence.id });
      expect((await ask()).body.code).toBe('IDEMPOTENCY_KEY_BUSY');
    });

    test('a command whose fate nobody knows keeps its claim, one that was refused does not', async () => {
      const ask = await terminate('k-8');
      api.workflows.fail = new MigrationError('WORKFLOW_ENGINE_UNAVAILABLE');
      expect((await ask()).status).toBe(503);
      api.workflows.fail = new MigrationError('PHASE_DISALLOWS');
      expect((await ask()).status).toBe(409);
      api.workflows.fail = undefined;
      expect((await ask()).status).toBe(202);
      const [unknown, refused, given] = api.workflows.claims.slice(-3);
      expect(refused).toBe(unknown);
      expect(given).not.toBe(unknown);
    });

    test('a migration that is in the records already is not started twice', async () => {
      const migration = await insertTestMigration(api.services);
      const { siteId, clusterMoref, datastoreMoref } = migration.destination as Record<string, string>;
      const [{ sourceSiteId, vmMoref } = {}] = migration.vmMigrations;
      const body = {
        kind: 'independent',
        vms: [{ siteId: sourceSiteId, moref: vmMoref }],
        destination: { siteId, clusterMoref, datastoreMoref },
      };
      const start = () => api.call('POST', '/api/v1/migrations', { body, headers: { 'idempotency-key': 'k-9' } });
      api.vcenter.refuse = new MigrationError('DATABASE_UNAVAILABLE');
      expect((await start()).status).toBe(503);
      api.vcenter.refuse = undefined;
      await unanswered('k-9', { claimedBy: 4711n, claimId: migration.id.slice(4) });
      const answer = await start();
      expect([answer.status, answer.body['id']]).toEqual([202, migration.id]);
    });
  });
});

describe('M6 commands and settings', () => {
  test('a command and its refusal both stand in the audit log', async () => {
    const { vmMigrations } = await insertTestMigration(api.services);
    const id = vmMigrations[0]?.id ?? '';
    api.workflows.fail = new MigrationError('FINAL_NOT_READY', 'Not yet');
    const refused = await api.call('POST', `/api/v1/vm-migrations/${id}/actions/final-migration`, { body: {} });
    api.workflows.fail = undefined;
    await api.call('POST', `/api/v1/vm-migrations/${id}/actions/shut-down-guest`, { body: {} });
    expect([refused.status, refused.body.detail]).toEqual([409, 'Not yet']);
    const rows = (await auditOf(id)).map((row) => [row.action, row.outcome]);
    expect(rows).toEqual([
      ['vm-migration.shut-down-guest', 'accepted'],
      ['vm-migration.final-migration', 'refused'],
    ]);
  });

  test('P2 settings are stored, audited and told to the workflow', async () => {
    const { vmMigrations } = await insertTestMigration(api.services);
    const id = vmMigrations[0]?.id ?? '';
    const answer = await api.call('PATCH', `/api/v1/vm-migrations/${id}/settings`, {
      body: { bytesPerSecondMax: '8000000' },
    });
    const wanted = {
      replicationRate: 50,
      writeThrottling: 0,
      bytesPerSecondMax: '8000000',
      addedWriteLatencyMsMax: null,
    };
    expect(answer.status).toBe(200);
    expect(answer.body['settings']).toEqual({ desired: wanted, inForce: null });
    expect(api.workflows.calls.at(-1)).toBe(`settings ${id} ${JSON.stringify(wanted)}`);
    const lifted = await api.call('PATCH', `/api/v1/vm-migrations/${id}/settings`, {
      body: { bytesPerSecondMax: null },
    });
    expect(lifted.body['settings']).toMatchObject({ desired: { bytesPerSecondMax: null } });
    const [row] = await auditOf(id);
    expect(row?.details).toMatchObject({ before: wanted, after: { bytesPerSecondMax: null } });
  });

  test('what has ended takes no settings and no commands', async () => {
    const { vmMigrations } = await insertTestMigration(api.services);
    const id = vmMigrations[0]?.id ?? '';
    await api.database.prisma.vmMigration.update({
      where: { id },
      data: { status: 'Terminated', state: 'Terminated', endedAt: new Date() },
    });
    const settings = await api.call('PATCH', `/api/v1/vm-migrations/${id}/settings`, { body: { replicationRate: 10 } });
    const command = await api.call('POST', `/api/v1/vm-migrations/${id}/actions/terminate`, { body: {} });
    expect([settings.body.code, command.body.code]).toEqual(['ALREADY_ENDED', 'ALREADY_ENDED']);
  });

  test('a migration is listed, shown, and pages follow each other', async () => {
    const made = await insertTestMigration(api.services);
    const shown = await api.call('GET', `/api/v1/migrations/${made.id}`);
    expect(shown.body).toMatchObject({ id: made.id, status: 'Queued', counts: { total: 1 } });
    const first = await api.call('GET', '/api/v1/migrations?limit=1');
    const second = await api.call('GET', `/api/v1/migrations?limit=1&cursor=${String(first.body['nextCursor'])}`);
    const ids = [first, second].map((page) => (page.body['items'] as { id: string }[])[0]?.id);
    expect(ids[0]).toBe(made.id);
    expect(ids[1]).not.toBe(made.id);
  });

  test('what is queued in the records is started when the workflow engine is back', async () => {
    const { id } = await insertTestMigration(api.services);
    const stop = keepStartingQueued(api.services);
    try {
      await expect.poll(() => api.workflows.calls, { timeout: 30_000 }).toContain(`start ${id}`);
    } finally {
      stop();
    }
  });

  test('there is no receipt before the final migration, and it says so', async () => {
    const { vmMigrations } = await insertTestMigration(api.services);
    const answer = await api.call('GET', `/api/v1/vm-migrations/${vmMigrations[0]?.id}/receipt`);
    expect([answer.status, answer.body.remedy]).toEqual([404, 'A receipt is written after the final migration.']);
  });
});
