// The small shapes that every REST resource is made of: ids, sizes, times, problems, pages.
// Only schemas and types live here: no defaults that depend on the installation, nothing that reads a clock.
import { z } from 'zod';
import { limits } from '../core/index.ts';

const uuidPattern = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';

/** An id of ours: a prefix that says what it names, and a UUIDv7. */
const idOf = (prefix: string, what: string) =>
  z
    .string()
    .regex(new RegExp(`^${prefix}_${uuidPattern}$`), `must be the id of ${what}: ${prefix}_ and a UUID`)
    .describe(`Id of ${what}`);

export const siteId = idOf('site', 'a site');
export const migrationId = idOf('mig', 'a migration');
export const vmMigrationId = idOf('vmm', 'one VM’s migration');
export const diskId = idOf('disk', 'a disk of a migration');
export const alarmId = idOf('alarm', 'an alarm');
export const tokenId = idOf('tok', 'an API token');

/** A vSphere object within one site. Two vCenters share morefs, so it never stands without the site beside it. */
export const moref = z
  .string()
  .regex(/^[A-Za-z0-9._:-]{1,80}$/, 'must be a vSphere managed object id such as vm-42')
  .describe('vSphere managed object id, unique only within its site');

/** Byte counts may pass 2^53, so JSON carries them as decimal text. */
export const bytes = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,18})$/, 'must be a whole number of bytes written as decimal text')
  .describe('Bytes, as decimal text');

export const timestamp = z.iso.datetime().describe('UTC, ISO 8601');

/** Colon-separated SHA-256 of a certificate, any letter case, as openssl and vSphere print it. */
export const thumbprint = z
  .string()
  .regex(/^([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}$/, 'must be a SHA-256 thumbprint: 32 pairs of hex digits with colons')
  .describe('SHA-256 thumbprint of a certificate');

/** One thing wrong with a request: where, and what. */
export const problemError = z
  .object({
    pointer: z.string().describe('JSON pointer into the body, or #/query/name, #/path/name, #/header/name'),
    message: z.string(),
    code: z.string().optional().describe('Stable code, where the reason has one of its own'),
  })
  .meta({ id: 'ProblemError' });

export const retryClass = z.enum(['retryable', 'permanent', 'needs-operator']);

export const problem = z
  .object({
    type: z.string().describe('Where the code is explained'),
    title: z.string().describe('What kind of problem, in a few words; the same for every case of the code'),
    status: z.int().min(400).max(599),
    detail: z.string().describe('What went wrong this time'),
    instance: z.string().describe('The request that met it'),
    code: z.string().describe('Stable, for programs'),
    remedy: z.string().describe('What to do about it'),
    retry: retryClass.describe('Whether the same request may succeed later by itself'),
    requestId: z.string().describe('Find the request in the logs by this'),
    errors: z.array(problemError).optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem details' });

/** Why something is as it is. */
export const reason = z
  .object({
    code: z.string(),
    message: z.string().describe('For people'),
    remedy: z.string().optional(),
    since: timestamp,
  })
  .meta({ id: 'Reason' });

export const pageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(limits.pageSizeMax).default(100).describe('At most this many items'),
  cursor: z.string().max(200).optional().describe('`nextCursor` of the page before'),
});

/** A page of a list; `nextCursor` is null on the last one. */
export const pageOf = <Item extends z.ZodType>(item: Item, id: string) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() }).meta({ id });

export type Problem = z.infer<typeof problem>;
export type ProblemError = z.infer<typeof problemError>;
export type RetryClass = z.infer<typeof retryClass>;
export type Reason = z.infer<typeof reason>;
export type PageQuery = z.infer<typeof pageQuery>;
