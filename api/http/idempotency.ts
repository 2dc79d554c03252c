// Makes a POST with an Idempotency-Key happen once: a repeat gets the first answer, another request with the same key
// is refused. An answer that holds a secret is never kept, so its repeat is refused too.
import { createHmac } from 'node:crypto';
import type { Request } from 'express';
import { MigrationError } from '../../core/index.ts';
import { claimIdempotencyKey, dropIdempotencyKey, keepAnswer, type IdempotentRequest } from '../../db/index.ts';
import type { Services } from '../services.ts';
import { invalidInput } from './problems.ts';
import type { Answer, HandlerContext, Route } from './route.ts';

export type Perform = () => Promise<Answer>;

export async function performOnce(
  route: Route,
  request: Request,
  context: HandlerContext,
  perform: Perform,
): Promise<Answer> {
  const key = request.headers['idempotency-key'];
  if (route.method !== 'post' || route.scope === null || key === undefined) return perform();
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,200}$/.test(key)) {
    throw invalidInput([{ pointer: '#/header/Idempotency-Key', message: 'must be 1 to 200 visible characters' }]);
  }
  const { database } = context.services;
  const claim = { principalId: context.principal.id, key, requestSha256: digestOf(request, context.services) };
  const kept = await claimIdempotencyKey(database.prisma, claim);
  if (kept !== null) return repeatOf(kept.response);
  return performAndKeep(route, claim, context, perform);
}

async function performAndKeep(route: Route, claim: IdempotentRequest, context: HandlerContext, perform: Perform) {
  const { prisma } = context.services.database;
  try {
    const answer = await perform();
    const kept = route.answersWithSecret === true ? { withheld: true } : { ...answer, headers: answer.headers ?? {} };
    await keepAnswer(prisma, claim, { status: answer.status, response: kept });
    return answer;
  } catch (error) {
    // A refusal is judged anew each time: what stood in the way may be gone when the client tries again.
    await dropIdempotencyKey(prisma, claim).catch((dropError: unknown) => {
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
