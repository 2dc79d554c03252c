// Finds out who asks (bearer token) and whether the token may do what the route needs. Nothing else decides that.
import type { Request } from 'express';
import { scope as scopeSchema } from '../../contracts/rest.ts';
import { MigrationError } from '../../core/index.ts';
import { findValidToken, touchToken } from '../../db/index.ts';
import type { Services } from '../services.ts';
import type { Principal, Route } from './route.ts';

/** Who asks on a route that is open to everybody. */
export const anonymous: Principal = { id: 'anonymous', name: 'anonymous', scopes: [] };

export async function authenticate(route: Route, request: Request, services: Services): Promise<Principal> {
  if (route.scope === null) return anonymous;
  const principal = await principalOf(request, services);
  if (!principal.scopes.includes(route.scope)) {
    throw new MigrationError(
      'FORBIDDEN',
      `This needs the scope ${route.scope}; the token "${principal.name}" lacks it.`,
    );
  }
  return principal;
}

async function principalOf(request: Request, { database, now }: Services): Promise<Principal> {
  const [, token] = /^Bearer ([A-Za-z0-9_-]{20,200})$/i.exec(request.headers.authorization ?? '') ?? [];
  if (token === undefined) throw new MigrationError('UNAUTHENTICATED', 'There is no bearer token in the request.');
  const row = await findValidToken(database.prisma, token, now());
  if (row === null) throw new MigrationError('UNAUTHENTICATED', 'The token is unknown, expired or revoked.');
  await touchToken(database.prisma, row, now());
  const known = scopeSchema.options.filter((name) => row.scopes.includes(name));
  return { id: row.id, name: row.name, scopes: known };
}
