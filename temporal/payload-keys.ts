/**
 * The keys that payloads of the workflow engine are encrypted with, in a file of the installation (0600). The first is
 * used for what is written now; the others still open what was written before. It must never be logged or sent.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { chmod, link, mkdir, open, readFile, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MigrationError } from '../core/index.ts';

export interface PayloadKey {
  readonly id: string;
  readonly key: Buffer;
}

/** Newest first. */
export type PayloadKeys = readonly PayloadKey[];

const keyBytes = 32;
const idBytes = 6;

export function payloadKeysFile(home: string): string {
  return join(home, 'authority', 'payload-keys.json');
}

/** Reads the keys; the first process of an installation makes one. Throws PAYLOAD_KEYS_UNREADABLE. */
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

/** Adds a key that is used from the next start of each process on. Returns its id. */
export async function rotatePayloadKeys(file: string): Promise<string> {
  const keys = await openPayloadKeys(file);
  const added = newKey();
  const temporary = `${file}.${added.id}`;
  await writeNew(temporary, [added, ...keys]);
  await rename(temporary, file);
  return added.id;
}

/** The part of the codec server's address that cannot be guessed. It stays when keys are rotated. */
export function codecSecret(keys: PayloadKeys): string {
  const oldest = keys.at(-1);
  if (oldest === undefined) throw new MigrationError('PAYLOAD_KEYS_UNREADABLE');
  return createHmac('sha256', oldest.key).update('landfall codec server v1').digest('hex');
}

async function readKeys(file: string): Promise<PayloadKeys> {
  const text = await readFile(file, 'utf8');
  const kept = JSON.parse(text) as readonly { readonly id: string; readonly key: string }[];
  const keys = kept.map(({ id, key }) => ({ id, key: Buffer.from(key, 'base64') }));
  if (keys.length === 0 || keys.some(({ key }) => key.length !== keyBytes)) throw new TypeError('no keys in it');
  return keys;
}

function newKey(): PayloadKey {
  return { id: randomBytes(idBytes).toString('hex'), key: randomBytes(keyBytes) };
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
}

async function writeNew(file: string, keys: PayloadKeys): Promise<void> {
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.writeFile(JSON.stringify(keys.map(({ id, key }) => ({ id, key: key.toString('base64') }))));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await chmod(file, 0o600);
}

function unreadable(file: string, cause: unknown): MigrationError {
  return new MigrationError('PAYLOAD_KEYS_UNREADABLE', `${file} cannot be read`, { cause });
}
