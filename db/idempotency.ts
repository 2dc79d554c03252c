/**
 * Answers to requests that carried an Idempotency-Key: a repeat gets the same answer, another request is refused. A claim
 * whose process died, or that came to no answer, is taken over by a repeat under the same claim id.
 */
import { MigrationError } from '../core/index.ts';
import { isUniqueViolation, json, type Database, type Db } from './database.ts';
import { newUuid } from './new-id.ts';
import { isGone, type Presence } from './presence.ts';

export interface KeptAnswer {
  readonly status: number;
  readonly response: unknown;
}

export interface IdempotentRequest {
  readonly principalId: string;
  readonly key: string;
  readonly requestSha256: string;
}

/** The answer of an earlier equal request, or the claim under which it is to be done now. */
export type Claim =
  { readonly kept: KeptAnswer; readonly claimId?: never } | { readonly claimId: string; readonly kept?: never };

/**
 * Claims the key. Throws IDEMPOTENCY_KEY_REUSED for another request, IDEMPOTENCY_KEY_BUSY while a living process does
 * the first.
 */
export async function claimIdempotencyKey(
  database: Database,
  request: IdempotentRequest,
  presence: Presence,
): Promise<Claim> {
  const { principalId, key, requestSha256 } = request;
  const claimId = newUuid();
  try {
    await database.prisma.idempotencyKey.create({
      data: { principalId, key, requestSha256, claimId, claimedBy: presence.id },
    });
    return { claimId };
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
  }
  const earlier = await database.transaction((db) => takeOver(db, request, presence));
  return earlier ?? claimIdempotencyKey(database, request, presence);
}

/** Null when the key was given back meanwhile. */
async function takeOver(db: Db, request: IdempotentRequest, presence: Presence): Promise<Claim | null> {
  const { principalId, key, requestSha256 } = request;
  const row = await db.idempotencyKey.findUnique({ where: { principalId_key: { principalId, key } } });
  if (row === null) return null;
  if (row.requestSha256 !== requestSha256) throw new MigrationError('IDEMPOTENCY_KEY_REUSED');
  if (row.status !== null) return { kept: { status: row.status, response: row.response } };
  const { claimId, claimedBy } = row;
  if (claimedBy !== null && !(await isGone(db, claimedBy))) throw new MigrationError('IDEMPOTENCY_KEY_BUSY');
  const taken = await db.idempotencyKey.updateMany({
    where: { principalId, key, claimId, claimedBy, status: null },
    data: { claimedBy: presence.id },
  });
  if (taken.count === 0) throw new MigrationError('IDEMPOTENCY_KEY_BUSY');
  return { claimId };
}

export async function keepAnswer(db: Db, request: IdempotentRequest, answer: KeptAnswer): Promise<void> {
  const { principalId, key } = request;
  await db.idempotencyKey.update({
    where: { principalId_key: { principalId, key } },
    data: { status: answer.status, response: json(answer.response) },
  });
}

/** Gives the key back after a refusal: a repeat is judged anew. */
export async function dropIdempotencyKey(db: Db, { principalId, key }: IdempotentRequest): Promise<void> {
  await db.idempotencyKey.deleteMany({ where: { principalId, key, status: null } });
}

/** Nobody knows what came of the request: a repeat goes on with it under the same claim. */
export async function leaveIdempotencyKey(db: Db, { principalId, key }: IdempotentRequest): Promise<void> {
  await db.idempotencyKey.updateMany({ where: { principalId, key, status: null }, data: { claimedBy: null } });
}

/** Forgets old answers, and claims that nobody came back to. */
export async function pruneIdempotencyKeys(db: Db, before: Date): Promise<number> {
  return (await db.idempotencyKey.deleteMany({ where: { createdAt: { lt: before } } })).count;
}
