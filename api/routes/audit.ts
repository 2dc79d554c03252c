// The audit log: who asked for what, when, and how it ended. Read only; rows are written with what they speak of.
import { auditPage, auditQuery, type AuditEntry } from '../../contracts/rest.ts';
import { listAudit, listTokens, type Audit } from '../../db/index.ts';
import { defineRoute, ok, type Route } from '../http/route.ts';
import { pageFrom } from './page.ts';

const listRoute = defineRoute({
  method: 'get',
  path: '/api/v1/audit',
  tag: 'Audit',
  operationId: 'listAudit',
  summary: 'Search the audit log',
  description: 'Newest first.',
  scope: 'audit:read',
  query: auditQuery,
  responses: { 200: { description: 'A page of the log', schema: auditPage } },
  problems: [],
  async handler({ query }, { services }) {
    const { limit, cursor, action, targetId, principalId } = query;
    const { prisma } = services.database;
    const rows = await listAudit(prisma, {
      limit,
      ...(cursor === undefined ? {} : { beforeId: cursor }),
      ...(action === undefined ? {} : { action }),
      ...(targetId === undefined ? {} : { targetId }),
      ...(principalId === undefined ? {} : { principalId }),
    });
    const names = new Map((await listTokens(prisma)).map((token) => [token.id, token.name]));
    return ok(pageFrom(rows, limit, (row) => toEntry(row, names)));
  },
});

function toEntry(row: Audit, names: ReadonlyMap<string, string>): AuditEntry {
  return {
    id: row.id,
    at: row.at.toISOString(),
    principalId: row.principalId,
    principalName: names.get(row.principalId) ?? null,
    action: row.action,
    targetKind: row.targetKind,
    targetId: row.targetId,
    outcome: row.outcome,
    requestId: row.requestId,
    details: row.details,
  };
}

export const auditRoutes: readonly Route[] = [listRoute];
