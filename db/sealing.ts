/**
 * Seals secrets that must rest in the database: AES-256-GCM with the installation's encryption
 * key, bound to the id of the row, so that a sealed value moved to another row does not open. It must never
 * put a secret into an error.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { MigrationError } from '../core/index.ts';

const version = 'v1';

export interface SealingKey {
  seal(secret: string, boundTo: string): string;
  /** Throws CREDENTIAL_KEY_WRONG when the key is another one or the value was changed. */
  unseal(sealed: string, boundTo: string): string;
}

/** Makes a sealing key of 32 bytes: the encryption key of the installation's authority. */
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
