// API tokens: make one, see them, revoke one. The secret leaves in the answer to its creation and never again.
import { z } from 'zod';
import { createTokenRequest, createdToken, scope, tokenId, tokenList, type Token } from '../../contracts/rest.ts';
import { MigrationError } from '../../core/index.ts';
import { createToken, listTokens, recordAudit, revokeToken, type ApiToken } from '../../db/index.ts';
import { created, defineRoute, noContent, ok, type Route } from '../http/route.ts';

const dayMs = 86_400_000;

const createRoute = defineRoute({
  method: 'post',
  path: '/api/v1/tokens',
  tag: 'Tokens',
  operationId: 'createToken',
  summary: 'Make a token',
  description: 'A token may be given only scopes that the asking token has itself.',
  scope: 'tokens:write',
  body: createTokenRequest,
  answersWithSecret: true,
  responses: { 201: { description: 'The token, with its secret this once', schema: createdToken } },
  problems: ['ANSWER_WITHHELD'],
  async handler({ body }, { services, principal, requestId }) {
    const beyond = body.scopes.filter((name) => !principal.scopes.includes(name));
    if (beyond.length > 0) {
      throw new MigrationError('FORBIDDEN', `The asking token has not itself: ${beyond.join(', ')}.`);
    }
    const expiresAt = new Date(services.now().getTime() + body.expiresInDays * dayMs);
    const made = await services.database.transaction(async (db) => {
      const result = await createToken(db, { name: body.name, scopes: [...new Set(body.scopes)], expiresAt });
      await recordAudit(db, {
        principalId: principal.id,
        action: 'token.create',
        targetKind: 'token',
        targetId: result.row.id,
        outcome: 'done',
        requestId,
        details: { name: body.name, scopes: body.scopes, expiresAt: expiresAt.toISOString() },
      });
      return result;
    });
    return created({ ...toToken(made.row), secret: made.token }, `/api/v1/tokens/${made.row.id}`);
  },
});

const listRoute = defineRoute({
  method: 'get',
  path: '/api/v1/tokens',
  tag: 'Tokens',
  operationId: 'listTokens',
  summary: 'List tokens',
  scope: 'tokens:write',
  responses: { 200: { description: 'All tokens, without their secrets', schema: tokenList } },
  problems: [],
  async handler(_input, { services }) {
    const rows = await listTokens(services.database.prisma);
    return ok({ items: rows.map(toToken) });
  },
});

const revokeRoute = defineRoute({
  method: 'delete',
  path: '/api/v1/tokens/{tokenId}',
  tag: 'Tokens',
  operationId: 'revokeToken',
  summary: 'Revoke a token',
  scope: 'tokens:write',
  params: z.strictObject({ tokenId }),
  responses: { 204: { description: 'It is of no use from now on' } },
  problems: ['NOT_FOUND'],
  async handler({ params }, { services, principal, requestId }) {
    await services.database.transaction(async (db) => {
      const row = (await listTokens(db)).find((candidate) => candidate.id === params.tokenId);
      if (row === undefined) throw new MigrationError('NOT_FOUND', `There is no token ${params.tokenId}`);
      await revokeToken(db, row.id, services.now());
      await recordAudit(db, {
        principalId: principal.id,
        action: 'token.revoke',
        targetKind: 'token',
        targetId: row.id,
        outcome: 'done',
        requestId,
        details: { name: row.name },
      });
    });
    return noContent;
  },
});

function toToken(row: ApiToken): Token {
  return {
    id: row.id,
    name: row.name,
    scopes: scope.options.filter((name) => row.scopes.includes(name)),
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt?.toISOString() ?? null,
    lastUsedAt: row.lastUsedAt?.toISOString() ?? null,
    revokedAt: row.revokedAt?.toISOString() ?? null,
  };
}

export const tokenRoutes: readonly Route[] = [createRoute, listRoute, revokeRoute];
