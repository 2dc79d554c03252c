// Files of the authority's folder: private, written whole or not at all, and made once even when two processes start together.
// It knows nothing of keys and certificates.
import { randomBytes } from 'node:crypto';
import { chmod, link, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MigrationError } from '../../core/index.ts';

const privateMode = 0o600;

/** Makes the folder if it is not there, readable by its owner only. */
export async function ensurePrivateDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
}

/** The file's text, null where there is none. A file that others can read is refused: its secrets may be known. */
export async function readPrivateFile(path: string): Promise<string | null> {
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      throw new MigrationError('AUTHORITY_EXPOSED', `${path} can be read by other users of this machine`);
    }
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Returns what the file holds, after making it from `create` where it was not there. Of two at once, one wins; both see the same. */
export async function readOrCreatePrivateFile(path: string, create: () => Promise<string>): Promise<string> {
  const existing = await readPrivateFile(path);
  if (existing !== null) return existing;
  const made = await create();
  const temporary = await writeTemporary(path, made, privateMode);
  try {
    await link(temporary, path);
    await syncDirectory(dirname(path));
    return made;
  } catch (error) {
    if (!isExisting(error)) throw error;
    const winner = await readPrivateFile(path);
    if (winner === null) throw error;
    return winner;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Replaces the file in one step. */
export async function replaceFile(path: string, text: string, mode: number = privateMode): Promise<void> {
  const temporary = await writeTemporary(path, text, mode);
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}

async function writeTemporary(path: string, text: string, mode: number): Promise<string> {
  const temporary = join(dirname(path), `.${randomBytes(12).toString('hex')}.new`);
  const file = await open(temporary, 'wx', mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  return temporary;
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

const codeOf = (error: unknown): unknown => (error instanceof Error && 'code' in error ? error.code : undefined);
const isMissing = (error: unknown): boolean => codeOf(error) === 'ENOENT';
const isExisting = (error: unknown): boolean => codeOf(error) === 'EEXIST';
