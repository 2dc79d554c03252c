/** Answers to requests that carried an Idempotency-Key: a repeat gets the same answer, another request is refused. */
import { MigrationError } from '../core/index.ts';
import { isUniqueViolation, json, type Db } from './database.ts';

export interface KeptAnswer {
  readonly status: number;
  readonly response: unknown;
}

export interface IdempotentRequest {
  readonly principalId: string;
  readonly key: string;
  readonly requestSha256: string;
}

/**
 * Claims the key. Returns the kept answer of an earlier equal request, or null when the caller is the
 * first. Throws IDEMPOTENCY_KEY_REUSED for another request, IDEMPOTENCY_KEY_BUSY while the first is under way.
 */
export async function claimIdempotencyKey(db: Db, request: IdempotentRequest): Promise<KeptAnswer | null> {
  const { principalId, key, requestSha256 } = request;
  try {
    await db.idempotencyKey.create({ data: { principalId, key, requestSha256 } });
    return null;
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
  }
  const row = await db.idempotencyKey.findUnique({ where: { principalId_key: { principalId, key } } });
  if (row === null) return claimIdempotencyKey(db, request);
  if (row.requestSha256 !== requestSha256) throw new MigrationError('IDEMPOTENCY_KEY_REUSED');
  if (row.status === null) throw new MigrationError('IDEMPOTENCY_KEY_BUSY');
  return { status: row.status, response: row.response };
}

export async function keepAnswer(db: Db, request: IdempotentRequest, answer: KeptAnswer): Promise<void> {
  const { principalId, key } = request;
  await db.idempotencyKey.update({
    where: { principalId_key: { principalId, key } },
    data: { status: answer.status, response: json(answer.response) },
  });
}

/** Gives the key back after a failure that a repeat may cure. */
export async function dropIdempotencyKey(db: Db, request: IdempotentRequest): Promise<void> {
  const { principalId, key } = request;
  await db.idempotencyKey.deleteMany({ where: { principalId, key, status: null } });
}

/** Forgets old answers, and claims whose process must have died before it could answer. */
export async function pruneIdempotencyKeys(db: Db, answeredBefore: Date, claimedBefore: Date): Promise<number> {
  const where = { OR: [{ createdAt: { lt: answeredBefore } }, { status: null, createdAt: { lt: claimedBefore } }] };
  return (await db.idempotencyKey.deleteMany({ where })).count;
}
