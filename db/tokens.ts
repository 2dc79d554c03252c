/** API tokens: 32 random bytes, of which only the SHA-256 is kept. */
import { createHash, randomBytes } from 'node:crypto';
import type { ApiToken } from '../generated/prisma/client.ts';
import type { Db } from './database.ts';
import { newId } from './new-id.ts';

export type { ApiToken };

export interface NewToken {
  readonly name: string;
  readonly scopes: readonly string[];
  readonly expiresAt?: Date;
}

/** Makes a token. Its text is returned once and cannot be found again. */
export async function createToken(db: Db, wanted: NewToken): Promise<{ token: string; row: ApiToken }> {
  const token = `lf_${randomBytes(32).toString('base64url')}`;
  const row = await db.apiToken.create({
    data: {
      id: newId('tok'),
      name: wanted.name,
      scopes: [...wanted.scopes],
      sha256: sha256(token),
      expiresAt: wanted.expiresAt ?? null,
    },
  });
  return { token, row };
}

/** The row of a token that may be used now, or null. */
export async function findValidToken(db: Db, token: string, now: Date): Promise<ApiToken | null> {
  const row = await db.apiToken.findUnique({ where: { sha256: sha256(token) } });
  if (row === null || row.revokedAt !== null) return null;
  return row.expiresAt !== null && row.expiresAt <= now ? null : row;
}

/** Notes the use, at most once a minute so that reading does not mean writing. */
export async function touchToken(db: Db, row: ApiToken, now: Date): Promise<void> {
  if (row.lastUsedAt !== null && now.getTime() - row.lastUsedAt.getTime() < 60_000) return;
  await db.apiToken.update({ where: { id: row.id }, data: { lastUsedAt: now } });
}

export async function revokeToken(db: Db, id: string, now: Date): Promise<void> {
  await db.apiToken.updateMany({ where: { id, revokedAt: null }, data: { revokedAt: now } });
}

export function listTokens(db: Db): Promise<ApiToken[]> {
  return db.apiToken.findMany({ orderBy: { createdAt: 'asc' } });
}

export function countTokens(db: Db): Promise<number> {
  return db.apiToken.count();
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
