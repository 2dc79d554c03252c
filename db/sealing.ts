/**
 * Seals secrets that must rest in the database: AES-256-GCM with a key file beside the authority's key,
 * bound to the id of the row, so that a sealed value moved to another row does not open. It must never
 * put a secret into an error.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MigrationError } from '../core/index.ts';

const version = 'v1';
const keyBytes = 32;
const keyFileName = 'credentials.key';

export interface SealingKey {
  seal(secret: string, boundTo: string): string;
  /** Throws CREDENTIAL_KEY_WRONG when the key is another one or the value was changed. */
  unseal(sealed: string, boundTo: string): string;
}

/** Reads the key of this installation; makes it at the first call (mode 0600). */
export async function openSealingKey(home: string): Promise<SealingKey> {
  const folder = join(home, 'authority');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, keyFileName);
  await createKeyFile(path);
  const key = Buffer.from((await readFile(path, 'utf8')).trim(), 'base64');
  if (key.length !== keyBytes) throw new MigrationError('CREDENTIAL_KEY_WRONG', `${path} does not hold a key`);
  return sealingKey(key);
}

export function sealingKey(key: Uint8Array): SealingKey {
  return {
    seal(secret, boundTo) {
      const nonce = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(boundTo));
      const sealed = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()]);
      return [version, ...[nonce, cipher.getAuthTag(), sealed].map((part) => part.toString('base64'))].join(':');
    },
    unseal(text, boundTo) {
      const [stated, nonce, tag, sealed] = text.split(':');
      try {
        if (stated !== version || nonce === undefined || tag === undefined || sealed === undefined) throw new Error();
        const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(nonce, 'base64'), { authTagLength: 16 });
        decipher.setAAD(Buffer.from(boundTo)).setAuthTag(Buffer.from(tag, 'base64'));
        return Buffer.concat([decipher.update(Buffer.from(sealed, 'base64')), decipher.final()]).toString('utf8');
      } catch {
        throw new MigrationError('CREDENTIAL_KEY_WRONG', `The credentials of ${boundTo} cannot be opened`);
      }
    },
  };
}

/** Two processes may start at once: whoever comes second finds the file and uses it. */
async function createKeyFile(path: string): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600);
    await file.writeFile(`${randomBytes(keyBytes).toString('base64')}\n`);
    await file.sync();
    await file.close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
