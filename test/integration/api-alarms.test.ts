// Alarms in the records and over REST: once per breach, whoever judges and however often it is started anew. And the keys
// of the workflow payloads, as an administrator sees them.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits, type Judgement, type Projection } from '../../core/index.ts';
import { keepOutlook, listEventsAfter, setPhase } from '../../db/index.ts';
import { startTestApi, type TestApi } from '../helpers/api.ts';
import { insertTestMigration } from '../helpers/records.ts';

let api: TestApi;
beforeAll(async () => {
  api = await startTestApi();
});
afterAll(() => api?.close());

const projection: Projection = {
  ready: { p50Seconds: 10, p90Seconds: 40 },
  downtimeSeconds: 90,
  downtimeParts: null,
};
const missed: Judgement = {
  code: 'DOWNTIME_AT_RISK',
  verdict: 'breached',
  risk: { code: 'DOWNTIME_AT_RISK', message: 'The stop would take 90 s', help: ['Begin when the guest writes less.'] },
};
const met: Judgement = { code: 'DOWNTIME_AT_RISK', verdict: 'fits', risk: null };

async function insertVm(): Promise<string> {
  const [member] = (await insertTestMigration(api.services)).vmMigrations;
  if (member === undefined) throw new Error('A migration has a member');
  return member.id;
}

const look = (id: string, judgement: Judgement, atSeconds: number): Promise<void> =>
  keepOutlook(
    api.services.database,
    id,
    { projection, judgements: [judgement] },
    new Date(1_800_000_000_000 + atSeconds * 1000),
  );

interface Item {
  readonly id: string;
  readonly kind: string;
  readonly code: string;
  readonly vmMigrationId: string;
  readonly help: readonly string[];
  readonly clearedAt: string | null;
}
async function alarmsOf(id: string, query = ''): Promise<Item[]> {
  const { items } = (await api.call('GET', `/api/v1/alarms${query}`)).body as unknown as { items: Item[] };
  return items.filter(({ vmMigrationId }) => vmMigrationId === id);
}
async function told(id: string): Promise<string[]> {
  const events = await listEventsAfter(api.services.database.prisma, 0n, 1000);
  return events
    .filter(({ vmMigrationId, type }) => vmMigrationId === id && type.startsWith('alarm'))
    .map(({ type }) => type);
}

describe('alarms', () => {
  test('M9 an objective that stays missed is one alarm, and it ends when it fits again for long enough', async () => {
    const id = await insertVm();
    await look(id, missed, 0);
    expect(await alarmsOf(id)).toEqual([]);
    // Two supervisors at once: one that lost its lease, and the one that took over.
    const raiseAt = limits.alarmRaiseSeconds;
    await Promise.all([look(id, missed, raiseAt), look(id, missed, raiseAt), look(id, missed, raiseAt)]);
    const [alarm] = await alarmsOf(id);
    expect(alarm).toMatchObject({ kind: 'objective-at-risk', code: 'DOWNTIME_AT_RISK', help: missed.risk?.help });
    await look(id, met, raiseAt + 10);
    await look(id, missed, raiseAt + 11);
    await look(id, met, raiseAt + 12);
    expect(await alarmsOf(id)).toHaveLength(1);
    await look(id, met, raiseAt + 12 + limits.alarmClearSeconds);
    expect(await alarmsOf(id)).toEqual([]);
    expect(await alarmsOf(id, '?all=true')).toMatchObject([{ id: alarm?.id, clearedAt: expect.any(String) as string }]);
    expect(await told(id)).toEqual(['alarm.raised', 'alarm.cleared']);
  });

  test('M9 a breach that passes calls nobody, and what has ended has no objectives', async () => {
    const id = await insertVm();
    for (const atSeconds of [0, 30, 60]) {
      await look(id, missed, atSeconds);
      await look(id, met, atSeconds + 1);
    }
    expect(await told(id)).toEqual([]);
    await look(id, missed, 100);
    await look(id, missed, 200);
    expect(await alarmsOf(id)).toHaveLength(1);
    await setPhase(api.services.database, id, { step: 'ended', state: 'Job complete' });
    expect(await alarmsOf(id)).toEqual([]);
    await look(id, missed, 300);
    await look(id, missed, 400);
    expect(await alarmsOf(id)).toEqual([]);
  });

  test('M9 a failure is an alarm until it is tried again; a person may say that it was seen', async () => {
    const id = await insertVm();
    const failure = {
      code: 'DATASTORE_FULL',
      message: 'It is full',
      remedy: 'Free space.',
      step: 'targetDisks',
    } as const;
    const fail = () => setPhase(api.services.database, id, { step: 'targetDisks', state: 'Failed', failure });
    await fail();
    await fail();
    expect(await alarmsOf(id)).toMatchObject([
      { kind: 'migration-error', code: 'DATASTORE_FULL', help: ['Free space.'] },
    ]);
    await setPhase(api.services.database, id, { step: 'targetDisks', failure: null });
    expect(await alarmsOf(id)).toEqual([]);
    await fail();
    const [again] = await alarmsOf(id);
    expect((await api.call('POST', `/api/v1/alarms/${again?.id}/actions/acknowledge`)).status).toBe(200);
    expect(await alarmsOf(id)).toEqual([]);
    const unknown = 'alarm_01968f4e-7a10-7c3b-9d52-0f6a1be2c9d4';
    expect((await api.call('POST', `/api/v1/alarms/${unknown}/actions/acknowledge`)).status).toBe(404);
  });
});

describe('keys of workflow payloads', () => {
  test('a new one comes first, the older ones stay, none of them is shown', async () => {
    const list = async () =>
      (await api.call('GET', '/api/v1/payload-keys')).body as unknown as { items: { id: string; newest: boolean }[] };
    const before = (await list()).items.map(({ id }) => id);
    const made = await Promise.all([1, 2, 3].map(() => api.call('POST', '/api/v1/payload-keys')));
    expect(made.map(({ status }) => status)).toEqual([201, 201, 201]);
    const { items } = await list();
    const ids = items.map(({ id }) => id);
    expect(new Set(ids.slice(0, 3))).toEqual(new Set(made.map(({ body }) => body['id'])));
    expect(ids.slice(3)).toEqual(before);
    expect(items.map(({ newest }) => newest)).toEqual([true, false, false, ...before.map(() => false)]);
    expect(Object.keys(items[0] ?? {}).sort()).toEqual(['createdAt', 'id', 'newest']);
  });
});
