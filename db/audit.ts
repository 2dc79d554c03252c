/** Who did what and how it ended. Rows are written in the transaction of what they speak of, and never changed. */
import { limits } from '../core/index.ts';
import type { Audit } from '../generated/prisma/client.ts';
import { json, type Db } from './database.ts';
import { newId } from './new-id.ts';

export type { Audit };
export type AuditOutcome = 'accepted' | 'refused' | 'unknown' | 'done' | 'failed';

export interface NewAudit {
  readonly principalId: string;
  readonly action: string;
  readonly targetKind: string;
  readonly targetId: string;
  readonly outcome: AuditOutcome;
  readonly requestId?: string;
  /** Never a secret. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export async function recordAudit(db: Db, wanted: NewAudit): Promise<Audit> {
  const { details, ...rest } = wanted;
  return db.audit.create({
    data: { id: newId('aud'), ...rest, ...(details === undefined ? {} : { details: json(details) }) },
  });
}

export interface AuditFilter {
  readonly targetId?: string;
  readonly principalId?: string;
  readonly action?: string;
  /** Continues after the last row of the page before. */
  readonly beforeId?: string;
  readonly limit: number;
}

/** Newest first. */
export function listAudit(db: Db, filter: AuditFilter): Promise<Audit[]> {
  const { limit, beforeId, ...where } = filter;
  return db.audit.findMany({
    where: { ...where, ...(beforeId === undefined ? {} : { id: { lt: beforeId } }) },
    orderBy: { id: 'desc' },
    take: Math.min(limit, limits.pageSizeMax),
  });
}
