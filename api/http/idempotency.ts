// Makes a POST with an Idempotency-Key happen once: a repeat gets the first answer, another request with the same key
// is refused. An answer that holds a secret is never kept, so its repeat is refused too. Where the process died before it
// could answer, a repeat goes on under the same claim, and what was done under that is not done again.
import { createHmac } from 'node:crypto';
import type { Request } from 'express';
import { MigrationError } from '../../core/index.ts';
import {
  claimIdempotencyKey,
  dropIdempotencyKey,
  keepAnswer,
  leaveIdempotencyKey,
  type IdempotentRequest,
} from '../../db/index.ts';
import type { Services } from '../services.ts';
import { invalidInput, isPassing } from './problems.ts';
import type { Answer, HandlerContext, Route } from './route.ts';

/** `claimId` is null without a key. */
export type Perform = (claimId: string | null) => Promise<Answer>;

export async function performOnce(
  route: Route,
  request: Request,
  context: HandlerContext,
  perform: Perform,
): Promise<Answer> {
  const key = request.headers['idempotency-key'];
  if (route.method !== 'post' || route.scope === null || key === undefined) return perform(null);
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,200}$/.test(key)) {
    throw invalidInput([{ pointer: '#/header/Idempotency-Key', message: 'must be 1 to 200 visible characters' }]);
  }
  const { database, presence } = context.services;
  const wanted = { principalId: context.principal.id, key, requestSha256: digestOf(request, context.services) };
  const { kept, claimId } = await claimIdempotencyKey(database, wanted, presence);
  if (kept !== undefined) return repeatOf(kept.response);
  return performAndKeep(route, wanted, context, () => perform(claimId));
}

async function performAndKeep(
  route: Route,
  wanted: IdempotentRequest,
  context: HandlerContext,
  perform: () => Promise<Answer>,
): Promise<Answer> {
  const { prisma } = context.services.database;
  try {
    const answer = await perform();
    const kept = route.answersWithSecret === true ? { withheld: true } : { ...answer, headers: answer.headers ?? {} };
    await keepAnswer(prisma, wanted, { status: answer.status, response: kept });
    return answer;
  } catch (error) {
    // A refusal is judged anew each time: what stood in the way may be gone when the client tries again. With a part away
    // nobody knows what was done already.
    const giveBack = isPassing(error) ? leaveIdempotencyKey : dropIdempotencyKey;
    await giveBack(prisma, wanted).catch((dropError: unknown) => {
      context.log.warn({ err: dropError }, 'the idempotency key of a failed request could not be given back');
    });
    throw error;
  }
}

function repeatOf(kept: unknown): Answer {
  const answer = kept as Answer | { withheld: true };
  if ('withheld' in answer) throw new MigrationError('ANSWER_WITHHELD');
  return { ...answer, headers: { ...answer.headers, 'Idempotency-Replayed': 'true' } };
}

function digestOf(request: Request, { requestDigestKey }: Services): string {
  const text = JSON.stringify([request.method, request.path, request.body ?? null]);
  return createHmac('sha256', requestDigestKey).update(text).digest('hex');
}
