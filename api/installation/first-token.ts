// The first token of an installation, with every scope: made once, when there is none, given back to be shown once, and
// written into the file that the command line reads.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { scope } from '../../contracts/rest.ts';
import { countTokens, createToken, recordAudit, type Database } from '../../db/index.ts';

const lifetimeMs = 365 * 86_400_000;

/** Any number as long as every API process uses the same: of two that start together one makes the token. */
const advisoryLock = 4_127_719;

export interface CliFile {
  readonly url: string;
  readonly token: string;
  readonly authorityPem: string;
}

/**
 * Null when the installation has tokens already. `keep` writes it down before it counts: one that nobody was shown would
 * leave an installation that nobody can enter.
 */
export async function createFirstToken(
  database: Database,
  now: Date,
  keep: (token: string) => Promise<void>,
): Promise<string | null> {
  return database.transaction(async (db) => {
    await db.$executeRaw`SELECT pg_advisory_xact_lock(${advisoryLock})`;
    if ((await countTokens(db)) > 0) return null;
    const expiresAt = new Date(now.getTime() + lifetimeMs);
    const { token, row } = await createToken(db, { name: 'first', scopes: scope.options, expiresAt });
    await recordAudit(db, {
      principalId: 'installation',
      action: 'token.create',
      targetKind: 'token',
      targetId: row.id,
      outcome: 'done',
      details: { name: 'first', expiresAt: expiresAt.toISOString() },
    });
    await keep(token);
    return token;
  });
}

/** Keeps the file of an earlier start right when the address or the authority has changed; its token stays. */
export async function refreshCliFile(path: string, present: Omit<CliFile, 'token'>): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) return;
  const { token, url, authorityPem } = JSON.parse(text) as CliFile;
  if (url === present.url && authorityPem === present.authorityPem) return;
  await writeCliFile(path, { token, ...present });
}

/** Written whole or not at all, for its owner only. */
export async function writeCliFile(path: string, content: CliFile): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const unfinished = `${path}.new`;
  await writeFile(unfinished, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  await rename(unfinished, path);
}
