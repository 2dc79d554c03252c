/**
 * The keys that payloads of the workflow engine are encrypted with, in a file of the installation (0600). The first is
 * used for what is written now; the others still open what was written before. It must never be logged or sent.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { chmod, link, mkdir, open, readFile, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MigrationError, isMigrationError } from '../core/index.ts';

export interface PayloadKey {
  readonly id: string;
  readonly key: Buffer;
  /** ISO 8601; null where it was not noted yet. */
  readonly createdAt: string | null;
}

/** Newest first. */
export type PayloadKeys = readonly PayloadKey[];

/** The keys of a running process. They may become more while it runs. */
export interface PayloadKeyring {
  /** The one to encrypt with; at most `followMs` behind the file. */
  newest(): Promise<PayloadKey>;
  /** One to decrypt with; undefined only when the file does not have it now. */
  find(id: string): Promise<PayloadKey | undefined>;
  /** All that were ever read. */
  readonly all: PayloadKeys;
}

/** A new key is used by every process after at most this time; what was written with it can be read at once. */
const followMs = 2000;

const keyBytes = 32;
const idBytes = 6;

export function payloadKeysFile(home: string): string {
  return join(home, 'authority', 'payload-keys.json');
}

/** Reads the keys; the first process of an installation makes one. Throws PAYLOAD_KEYS_UNREADABLE, AUTHORITY_EXPOSED. */
export async function openPayloadKeys(file: string): Promise<PayloadKeys> {
  try {
    return await readKeys(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw unreadable(file, error);
  }
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  await writeOnce(file, [newKey()]);
  return readKeys(file);
}

/** Reads the keys and makes none: in a running installation a missing file is a lost one. Throws PAYLOAD_KEYS_UNREADABLE. */
export async function readPayloadKeys(file: string): Promise<PayloadKeys> {
  try {
    return await readKeys(file);
  } catch (error) {
    throw unreadable(file, error);
  }
}

/** Keys that stay as they are. */
export function fixedKeyring(all: PayloadKeys): PayloadKeyring {
  const [newest] = all;
  if (newest === undefined) throw new MigrationError('PAYLOAD_KEYS_UNREADABLE');
  return { all, newest: async () => newest, find: async (id) => all.find((key) => key.id === id) };
}

/** Follows the file, so that a rotation needs no restart. The first process of an installation makes a key. */
export async function openKeyring(file: string): Promise<PayloadKeyring> {
  // Before the keys: a rotation between the two is noticed at the next look.
  let seen = await versionOf(file).catch(() => undefined);
  let ring = fixedKeyring(await openPayloadKeys(file));
  let lookedAtMs = Date.now();
  async function look(): Promise<void> {
    lookedAtMs = Date.now();
    const version = await versionOf(file);
    if (version === seen) return;
    const now = await readKeys(file);
    // A file that was lost and made anew lacks keys of which this process may have the only copy.
    const missing = ring.all.filter(({ id }) => now.every((key) => key.id !== id));
    ring = fixedKeyring([...now, ...missing]);
    seen = version;
  }
  return {
    get all() {
      return ring.all;
    },
    async newest() {
      // A file that is gone takes no key away from those who have read it: they go on.
      if (Date.now() - lookedAtMs >= followMs) await look().catch(() => undefined);
      return ring.newest();
    },
    async find(id) {
      const known = await ring.find(id);
      if (known !== undefined) return known;
      await look().catch((error: unknown) => Promise.reject(unreadable(file, error)));
      return ring.find(id);
    },
  };
}

async function versionOf(file: string): Promise<string> {
  const { ino, mtimeNs } = await stat(file, { bigint: true });
  return `${ino}/${mtimeNs}`;
}

/**
 * Adds a key, which becomes the newest; no other is taken away. Returns it. Throws PAYLOAD_KEYS_UNREADABLE. Whoever calls it sees to it that nobody else
 * does at the same time: one of two keys would be lost.
 */
export async function rotatePayloadKeys(file: string): Promise<PayloadKey> {
  const keys = await readPayloadKeys(file);
  const added = newKey();
  const temporary = `${file}.${added.id}`;
  await writeNew(temporary, [added, ...keys]);
  await rename(temporary, file);
  await syncFolder(dirname(file));
  return added;
}

/** The part of the codec server's address that cannot be guessed. It stays when keys are rotated. */
export function codecSecret(keys: PayloadKeys): string {
  const oldest = keys.at(-1);
  if (oldest === undefined) throw new MigrationError('PAYLOAD_KEYS_UNREADABLE');
  return createHmac('sha256', oldest.key).update('landfall codec server v1').digest('hex');
}

interface KeptKey {
  readonly id: string;
  readonly key: string;
  readonly createdAt?: string | null;
}

async function readKeys(file: string): Promise<PayloadKeys> {
  if (((await stat(file)).mode & 0o077) !== 0) {
    throw new MigrationError('AUTHORITY_EXPOSED', `${file} can be read by other users of this machine`);
  }
  const text = await readFile(file, 'utf8');
  const kept = JSON.parse(text) as readonly KeptKey[];
  const keys = kept.map(({ id, key, createdAt = null }) => ({ id, key: Buffer.from(key, 'base64'), createdAt }));
  if (keys.length === 0 || keys.some(({ key }) => key.length !== keyBytes)) throw new TypeError('no keys in it');
  return keys;
}

function newKey(): PayloadKey {
  const createdAt = new Date().toISOString();
  return { id: randomBytes(idBytes).toString('hex'), key: randomBytes(keyBytes), createdAt };
}

/** Two processes may start at once: one of them wins, both use its key. */
async function writeOnce(file: string, keys: PayloadKeys): Promise<void> {
  const temporary = `${file}.${randomBytes(idBytes).toString('hex')}`;
  await writeNew(temporary, keys);
  try {
    await link(temporary, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await unlink(temporary);
  }
  await syncFolder(dirname(file));
}

async function writeNew(file: string, keys: PayloadKeys): Promise<void> {
  const handle = await open(file, 'wx', 0o600);
  try {
    const kept: KeptKey[] = keys.map(({ key, ...rest }) => ({ ...rest, key: key.toString('base64') }));
    await handle.writeFile(JSON.stringify(kept));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await chmod(file, 0o600);
}

/** A new name lasts through a power failure only once its folder does. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function unreadable(file: string, cause: unknown): MigrationError {
  if (isMigrationError(cause)) return cause;
  if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
    const remedy =
      'Restore it from its backup before anything is restarted: what runs still has the keys, what starts makes new ones.';
    return new MigrationError('PAYLOAD_KEYS_UNREADABLE', `${file} is missing`, { cause, remedy });
  }
  return new MigrationError('PAYLOAD_KEYS_UNREADABLE', `${file} cannot be read`, { cause });
}
