// What the API keeps in the records and tells again: rounds after lost words, repeats after a crash, commands whose fate
// nobody knows, and people or processes that write at one moment.
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { claimedMemberId } from '../../api/migrations/add-members.ts';
import { makeQueuedStarter } from '../../api/migrations/start-queued.ts';
import { createTemporalGateway } from '../../api/migrations/temporal-gateway.ts';
import { makeAdmissionTeller } from '../../api/migrations/tell-admission.ts';
import { MigrationError, type Judgement, type Projection } from '../../core/index.ts';
import {
  acknowledgeAlarm,
  createMember,
  eventLock,
  getMigration,
  keepOutlook,
  keepQueue,
  listAudit,
  listEventsAfter,
  setPhase,
  setSitePaused,
  type Database,
  type Db,
  type MigrationWithMembers,
} from '../../db/index.ts';
import { connectWorkflowEngine } from '../../temporal/client.ts';
import { fixedKeyring } from '../../temporal/payload-keys.ts';
import { testTemporalAddress } from '../../tools/test-temporal.ts';
import { startTestApi, type TestApi } from '../helpers/api.ts';
import { insertTestMigration } from '../helpers/records.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api?.close());
beforeEach(() => {
  api.workflows.calls.length = 0;
  api.workflows.fail = undefined;
});

function firstOf({ vmMigrations: [member] }: MigrationWithMembers): MigrationWithMembers['vmMigrations'][number] {
  if (member === undefined) throw new Error('A migration has a member');
  return member;
}

/** Another VM for the migration, which its queue has not heard of. */
async function addMember(db: Db, migration: MigrationWithMembers, position: number, id?: string): Promise<string> {
  const { sourceSiteId, destinationSiteId } = firstOf(migration);
  const vm = { sourceSiteId, vmMoref: `vm-${position + 1}`, vmInstanceUuid: `${migration.id}-${position}` };
  const more = { vmName: `added-${position}`, sourceHostMoref: null, warnings: [], settings: null, disks: [] };
  const options = { ...(id === undefined ? {} : { id }), announced: false };
  return createMember(db, migration.id, destinationSiteId, { ...vm, ...more }, position, options);
}

describe('rounds', () => {
  test('start every queued migration, however many wait before it, and go on after one that cannot be started', async () => {
    const ids: string[] = [];
    for (let count = 0; count < 5; count += 1) ids.push((await insertTestMigration(api.services)).id);
    const [, broken = ''] = ids;
    const start = vi.fn(async (id: string) => {
      if (id === broken) throw new Error('cannot be started');
    });
    const services = { ...api.services, workflows: { ...api.workflows, startMigration: start } };
    const round = makeQueuedStarter(services, 2);
    for (let count = 0; count < 8; count += 1) await round().catch(() => undefined);
    expect(new Set(start.mock.calls.map(([id]) => id))).toEqual(new Set(ids));
    expect(start.mock.calls.filter(([id]) => id === broken).length).toBeGreaterThan(1);
  });

  test('tell admission everything now and then, also when the records are as it was told last', async () => {
    const round = makeAdmissionTeller(api.services);
    const told = (): number => api.workflows.calls.filter((call) => call.startsWith('capacities')).length;
    await round();
    await round();
    expect(told()).toBe(1);
    for (let count = 0; count < 10; count += 1) await round();
    expect(told()).toBe(2);
  });
});

describe('members', () => {
  test('a repeat finds the ones that it added before the process died, and tells the queue of them', async () => {
    const migration = await insertTestMigration(api.services);
    const { sourceSiteId: siteId } = firstOf(migration);
    const body = { vms: [1, 2].map((number) => ({ siteId, moref: `vm-${number + 1}` })) };
    const headers = { 'idempotency-key': 'add-1' };
    const add = () => api.call('POST', `/api/v1/migrations/${migration.id}/members`, { body, headers });
    api.vcenter.refuse = new MigrationError('DATABASE_UNAVAILABLE');
    expect((await add()).status).toBe(503);
    const { prisma } = api.database;
    const { claimId } = await prisma.idempotencyKey.findFirstOrThrow({ where: { key: 'add-1' } });
    const ids = [0, 1].map((index) => claimedMemberId(claimId, index));
    for (const [index, id] of ids.entries()) await addMember(prisma, migration, index + 1, id);
    // Nothing is asked of a vCenter again.
    const answer = await add();
    api.vcenter.refuse = undefined;
    expect([answer.status, answer.body.code]).toEqual([202, undefined]);
    expect(api.workflows.calls).toEqual([`queue ${migration.id} ${JSON.stringify({ kind: 'add', ids })}`]);
    const { vmMigrations } = await getMigration(prisma, migration.id);
    expect(vmMigrations.map(({ id, announced }) => [id, announced])).toEqual(
      [firstOf(migration).id, ...ids].map((id) => [id, true]),
    );
  });

  test('one that is added while the order is written keeps its place behind the others', async () => {
    const migration = await insertTestMigration(api.services, { names: ['one', 'two'] });
    const [one = '', two = ''] = migration.vmMigrations.map(({ id }) => id);
    let added = '';
    const racing: Database = {
      ...api.database,
      transaction: (work) =>
        api.database.transaction((db) =>
          work(
            new Proxy(db, {
              get(target, name) {
                if (name !== '$executeRaw') return Reflect.get(target, name) as unknown;
                return async (...given: Parameters<Db['$executeRaw']>) => {
                  if (added === '') added = await addMember(api.database.prisma, migration, 2);
                  return db.$executeRaw(...given);
                };
              },
            }),
          ),
        ),
    };
    await keepQueue(racing, migration.id, { waiting: [two, one], held: [], paused: false, concurrency: 1 });
    const { vmMigrations } = await getMigration(api.database.prisma, migration.id);
    expect(vmMigrations.map(({ id, position }) => [id, position])).toEqual([
      [two, 0],
      [one, 1],
      [added, 2],
    ]);
  });

  test('the paused site of one that has ended does not hold up the final of its group', async () => {
    const migration = await insertTestMigration(api.services, { kind: 'group', names: ['one', 'two'] });
    const [one, two] = migration.vmMigrations;
    const elsewhere = firstOf(await insertTestMigration(api.services)).sourceSiteId;
    const { prisma } = api.database;
    await prisma.vmMigration.update({ where: { id: one?.id ?? '' }, data: { sourceSiteId: elsewhere } });
    await setSitePaused(prisma, elsewhere, true, new Date());
    const final = () => api.call('POST', `/api/v1/migrations/${migration.id}/actions/final-migration`, { body: {} });
    expect((await final()).body.code).toBe('PHASE_DISALLOWS');
    await setPhase(api.database, one?.id ?? '', { step: 'ended', state: 'Terminated' });
    expect(two?.endedAt).toBeNull();
    expect((await final()).status).toBe(202);
  });
});

describe('the audit log', () => {
  test('does not call refused what nobody knows', async () => {
    const { id } = firstOf(await insertTestMigration(api.services));
    const terminate = () => api.call('POST', `/api/v1/vm-migrations/${id}/actions/terminate`, { body: {} });
    const outcomes = [];
    for (const code of ['WORKFLOW_ENGINE_UNAVAILABLE', 'PHASE_DISALLOWS', null] as const) {
      api.workflows.fail = code === null ? undefined : new MigrationError(code);
      await terminate();
      outcomes.push((await listAudit(api.database.prisma, { targetId: id, limit: 1 }))[0]?.outcome);
    }
    expect(outcomes).toEqual(['unknown', 'refused', 'accepted']);
  });

  test('says unknown of a command that no worker took in time, and the answer says what to do', async () => {
    const address = testTemporalAddress();
    const keys = fixedKeyring([{ id: 'test', key: Buffer.alloc(32), createdAt: null }]);
    const gateway = createTemporalGateway(address, keys, { updateMsMax: 1_000 });
    const { id } = await insertTestMigration(api.services);
    await gateway.startMigration(id, 'independent');
    const { command } = api.workflows;
    api.workflows.command = gateway.command;
    const answer = await api.call('POST', `/api/v1/migrations/${id}/actions/terminate`, { body: {} });
    api.workflows.command = command;
    expect(answer.body).toMatchObject({
      status: 503,
      code: 'WORKFLOW_ENGINE_UNAVAILABLE',
      detail: 'No worker has answered in time',
      remedy: expect.stringContaining('Check that a worker runs') as string,
    });
    expect(answer.headers.get('retry-after')).toBe('5');
    expect(await listAudit(api.database.prisma, { targetId: id, limit: 1 })).toMatchObject([{ outcome: 'unknown' }]);
    const engine = await connectWorkflowEngine(address, keys);
    await engine.client.workflow.getHandle(id).terminate();
    await Promise.all([engine.close(), gateway.close()]);
  });
});

describe('alarms of one VM', () => {
  const projection: Projection = { ready: { p50Seconds: 1, p90Seconds: 2 }, downtimeSeconds: 9, downtimeParts: null };
  const missed = (code: Judgement['code']): Judgement => ({
    code,
    verdict: 'breached',
    risk: { code, message: 'It takes too long', help: [] },
  });
  const look = (id: string, judgements: readonly Judgement[], atSeconds: number): Promise<void> =>
    keepOutlook(api.database, id, { projection, judgements }, new Date(1_800_000_000_000 + atSeconds * 1000));
  const raised = async (id: string): Promise<string> =>
    (await api.database.prisma.alarm.findFirstOrThrow({ where: { vmMigrationId: id, raisedAt: { not: null } } })).id;

  /** Nobody writes an event until all have begun, one after the other. */
  async function whileNoEventIsWritten(works: readonly (() => Promise<unknown>)[]): Promise<unknown[]> {
    const client = await api.database.pool.connect();
    const waiting = async (): Promise<number> => {
      const sql = `SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`;
      return (await client.query<{ count: number }>(sql)).rows[0]?.count ?? 0;
    };
    try {
      await client.query('SELECT pg_advisory_lock($1)', [eventLock]);
      const results: Promise<unknown>[] = [];
      for (const work of works) {
        results.push(work().catch((error: unknown) => error));
        await vi.waitFor(async () => expect(await waiting()).toBe(results.length), { timeout: 5_000 });
      }
      await client.query('SELECT pg_advisory_unlock($1)', [eventLock]);
      return await Promise.all(results);
    } finally {
      client.release();
    }
  }

  test('a look and an acknowledgement at one moment both succeed', async () => {
    const { id } = firstOf(await insertTestMigration(api.services));
    await look(id, [missed('DOWNTIME_AT_RISK')], 0);
    await look(id, [missed('DOWNTIME_AT_RISK')], 100);
    await look(id, [missed('DURATION_AT_RISK'), missed('DOWNTIME_AT_RISK')], 110);
    const alarm = await raised(id);
    const both = [missed('DURATION_AT_RISK'), missed('DOWNTIME_AT_RISK')];
    const results = await whileNoEventIsWritten([
      () => look(id, both, 200),
      () => acknowledgeAlarm(api.database, alarm),
    ]);
    expect(results.filter((result) => result instanceof Error)).toEqual([]);
  });

  test('two acknowledgements at one moment are told once', async () => {
    const { id } = firstOf(await insertTestMigration(api.services));
    await look(id, [missed('DOWNTIME_AT_RISK')], 0);
    await look(id, [missed('DOWNTIME_AT_RISK')], 100);
    const alarm = await raised(id);
    const acknowledge = () => acknowledgeAlarm(api.database, alarm);
    const results = await whileNoEventIsWritten([acknowledge, acknowledge]);
    expect(results.filter((result) => result instanceof Error)).toEqual([]);
    const events = await listEventsAfter(api.database.prisma, 0n, 1000);
    expect(events.filter((event) => event.vmMigrationId === id && event.type === 'alarm.cleared')).toHaveLength(1);
  });
});
