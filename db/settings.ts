/** What an administrator set for the whole installation. What was never set has the default of core. */
import { defaultCapacities, pausedSites, type Tokens } from '../core/index.ts';
import { json, type Db } from './database.ts';

const capacitiesKey = 'admission.capacities';

export async function readCapacities(db: Db): Promise<Tokens> {
  const row = await db.setting.findUnique({ where: { key: capacitiesKey } });
  return { ...defaultCapacities, ...(row?.value as Tokens | undefined) };
}

/** All that admission has to give out: a paused site has nothing. */
export async function readTokens(db: Db): Promise<Tokens> {
  const paused = await db.site.findMany({ where: { pausedAt: { not: null } }, select: { id: true } });
  return { ...(await readCapacities(db)), ...pausedSites(paused.map(({ id }) => id)) };
}

/** Keeps what differs from the defaults; null of a resource takes its own limit away. */
export async function setCapacities(db: Db, change: Readonly<Record<string, number | null>>): Promise<Tokens> {
  const row = await db.setting.findUnique({ where: { key: capacitiesKey } });
  const before = (row?.value ?? {}) as Tokens;
  const value = Object.fromEntries(
    Object.entries({ ...before, ...change }).filter((entry): entry is [string, number] => entry[1] !== null),
  );
  const data = { key: capacitiesKey, value: json(value) };
  await db.setting.upsert({ where: { key: capacitiesKey }, create: data, update: data });
  return { ...defaultCapacities, ...value };
}
