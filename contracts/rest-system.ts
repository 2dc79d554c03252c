// REST shapes of the installation itself: health, tokens and their scopes, the audit log, leaks.
// A token's secret stands in one response only, that of its creation.
import { z } from 'zod';
import { moref, pageOf, pageQuery, siteId, timestamp, tokenId } from './rest-common.ts';

/** What a token may do. Every route names exactly one of these, or is open to all. */
export const scope = z
  .enum(['sites:read', 'sites:write', 'migrations:read', 'migrations:write', 'audit:read', 'tokens:write'])
  .meta({ id: 'Scope' });

export const health = z
  .object({
    status: z.enum(['ok', 'degraded']),
    version: z.string(),
    parts: z.array(z.object({ name: z.string(), ok: z.boolean(), message: z.string() })),
  })
  .meta({ id: 'Health' });

export const installationPart = z
  .object({
    name: z.string().describe('postgres, temporal, api or worker'),
    state: z
      .enum(['starting', 'running', 'stopped', 'failing'])
      .describe('`stopped` is started again in a moment; `failing` has died several times in a row'),
    since: timestamp,
    restarts: z.int().describe('How often it was started again since `landfall up` began'),
    lastEnd: z
      .object({ at: timestamp, how: z.string().describe('Such as `killed by SIGKILL`') })
      .nullable()
      .describe('How it ended last; null when it never did'),
    logFile: z.string().describe('On the machine of the installation'),
    remedy: z.string().nullable().describe('What to do when it is failing'),
  })
  .meta({ id: 'InstallationPart', description: 'A process that `landfall up` keeps running' });

export const installation = z
  .object({
    installationId: z.string(),
    version: z.string(),
    authorityPem: z.string().describe('Certificate of the authority that signs for the API and all agents; public'),
    receiptFingerprint: z
      .string()
      .describe('Fingerprint of the key that signs receipts, for `landfall verify --trust`'),
    parts: z.array(installationPart).describe('Empty where the processes were not started by `landfall up`'),
  })
  .meta({ id: 'Installation', description: 'Who this installation is' });

export const createTokenRequest = z
  .strictObject({
    name: z.string().trim().min(1).max(80),
    scopes: z.array(scope).min(1),
    expiresInDays: z.int().min(1).max(3_650).default(90),
  })
  .meta({ id: 'CreateTokenRequest' });

const tokenFields = {
  id: tokenId,
  name: z.string(),
  scopes: z.array(scope),
  createdAt: timestamp,
  expiresAt: timestamp.nullable(),
  lastUsedAt: timestamp.nullable(),
  revokedAt: timestamp.nullable(),
};

export const token = z.object(tokenFields).meta({ id: 'Token' });
export const createdToken = z
  .object({ ...tokenFields, secret: z.string().describe('The bearer token itself. It is shown this once') })
  .meta({ id: 'CreatedToken' });
export const tokenList = z.object({ items: z.array(token) }).meta({ id: 'TokenList' });

export const auditEntry = z
  .object({
    id: z.string(),
    at: timestamp,
    principalId: z.string(),
    principalName: z.string().nullable(),
    action: z.string(),
    targetKind: z.string(),
    targetId: z.string(),
    outcome: z
      .string()
      .describe('accepted, refused, unknown (a part was away: it may still be carried out), done or failed'),
    requestId: z.string().nullable(),
    details: z.unknown().describe('What was asked, and before and after where something was changed; no secrets'),
  })
  .meta({ id: 'AuditEntry' });

export const auditQuery = pageQuery.extend({
  action: z.string().max(80).optional().describe('Only this action, such as `migration.start`'),
  targetId: z.string().max(120).optional(),
  principalId: z.string().max(120).optional(),
});
export const auditPage = pageOf(auditEntry, 'AuditPage');

export const leak = z
  .object({
    siteId,
    siteName: z.string(),
    kind: z.enum(['vm', 'file', 'policy', 'disk', 'snapshot', 'host-option', 'record', 'unreadable']),
    name: z.string(),
    moref: moref.nullable(),
    vmMigrationId: z.string().nullable(),
    message: z.string(),
    remedy: z.string(),
  })
  .meta({ id: 'Leak', description: 'Something of ours that is still there though nothing under way needs it' });

export const leakReport = z
  .object({ checkedAt: timestamp, clean: z.boolean(), items: z.array(leak) })
  .meta({ id: 'LeakReport' });

export type Scope = z.infer<typeof scope>;
export type Health = z.infer<typeof health>;
export type InstallationPart = z.infer<typeof installationPart>;
export type Installation = z.infer<typeof installation>;
export type CreateTokenRequest = z.infer<typeof createTokenRequest>;
export type Token = z.infer<typeof token>;
export type CreatedToken = z.infer<typeof createdToken>;
export type AuditEntry = z.infer<typeof auditEntry>;
export type AuditQuery = z.infer<typeof auditQuery>;
export type Leak = z.infer<typeof leak>;
export type LeakReport = z.infer<typeof leakReport>;
