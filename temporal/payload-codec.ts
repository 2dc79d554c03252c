/**
 * Encrypts what workflows and activities say to each other before it reaches the workflow engine's database:
 * AES-256-GCM with a fresh nonce per payload, the key's id beside it. It must not know what a payload means.
 *
 * Encrypted data: 12 bytes nonce, ciphertext, 16 bytes tag. Plain text: 4 bytes length of the metadata (big-endian), the
 * metadata as JSON with values in base64, the payload's data.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import type { DataConverter, Payload, PayloadCodec } from '@temporalio/common';
import { MigrationError } from '../core/index.ts';
import type { PayloadKey, PayloadKeyring } from './payload-keys.ts';

export const encryptedEncoding = 'binary/encrypted';
const algorithm = 'aes-256-gcm';
const nonceBytes = 12;
const tagBytes = 16;
const lengthBytes = 4;

/** Opens with any of the keys, encrypts with the newest. Throws PAYLOAD_KEY_UNKNOWN for one that is not there. */
export function makePayloadCodec(keys: PayloadKeyring): PayloadCodec {
  return {
    async encode(payloads) {
      const newest = await keys.newest();
      return payloads.map((payload) => encrypt(payload, newest));
    },
    decode: (payloads) => Promise.all(payloads.map((payload) => open(payload, keys))),
  };
}

/** For clients and workers: payloads are encrypted, and so are messages and stacks of failures. */
export function encryptingConverter(keys: PayloadKeyring): DataConverter {
  const source = fileURLToPath(new URL('./failure-converter.ts', import.meta.url));
  const failureConverterPath = import.meta.url.endsWith('.ts') ? source : source.replace(/ts$/, 'js');
  return { payloadCodecs: [makePayloadCodec(keys)], failureConverterPath };
}

function encrypt(payload: Payload, { id, key }: PayloadKey): Payload {
  const nonce = randomBytes(nonceBytes);
  const cipher = createCipheriv(algorithm, key, nonce);
  const sealed = Buffer.concat([nonce, cipher.update(pack(payload)), cipher.final(), cipher.getAuthTag()]);
  return { metadata: { encoding: Buffer.from(encryptedEncoding), 'key-id': Buffer.from(id) }, data: sealed };
}

async function open(payload: Payload, keys: PayloadKeyring): Promise<Payload> {
  return isEncrypted(payload) ? decrypt(payload, keys) : payload;
}

async function decrypt({ metadata, data }: Payload, keys: PayloadKeyring): Promise<Payload> {
  const id = text(metadata?.['key-id']);
  const key = (await keys.find(id))?.key;
  if (key === undefined || !data) throw new MigrationError('PAYLOAD_KEY_UNKNOWN', `There is no payload key ${id}`);
  const sealed = Buffer.from(data);
  const decipher = createDecipheriv(algorithm, key, sealed.subarray(0, nonceBytes));
  decipher.setAuthTag(sealed.subarray(-tagBytes));
  try {
    return unpack(Buffer.concat([decipher.update(sealed.subarray(nonceBytes, -tagBytes)), decipher.final()]));
  } catch (error) {
    throw new MigrationError('PAYLOAD_KEY_UNKNOWN', 'A payload was changed, or its key is another one', {
      cause: error,
    });
  }
}

function pack({ metadata, data }: Payload): Buffer {
  const entries = Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value).toString('base64')]);
  const head = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32BE(head.length);
  return Buffer.concat([length, head, data ?? Buffer.alloc(0)]);
}

function unpack(plain: Buffer): Payload {
  const end = lengthBytes + plain.readUInt32BE();
  const entries = Object.entries(JSON.parse(plain.subarray(lengthBytes, end).toString()) as Record<string, string>);
  return {
    metadata: Object.fromEntries(entries.map(([name, value]) => [name, Buffer.from(value, 'base64')])),
    data: plain.subarray(end),
  };
}

function isEncrypted({ metadata }: Payload): boolean {
  return text(metadata?.['encoding']) === encryptedEncoding;
}

function text(bytes: Uint8Array | null | undefined): string {
  return Buffer.from(bytes ?? []).toString();
}
