// Receipts: what a migration moved and proved, as canonical JSON (RFC 8785) with an Ed25519 signature. docs/receipt.md is the format.
// It judges nothing about a migration: it signs what it is given, and checks that what it is shown was signed.
import { createHash, createPublicKey, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import canonicalizeModule from 'canonicalize';
import { MigrationError } from '../../core/index.ts';

// The package is CommonJS and exports the function itself; its type declaration speaks of a default export.
const canonicalize = canonicalizeModule as unknown as (value: unknown) => string | undefined;

export const receiptFormat = 'landfall-receipt/1';

/** One VM at one site. */
export interface ReceiptSide {
  readonly vCenterInstanceUuid: string;
  readonly vCenterName: string;
  readonly vmName: string;
  readonly vmInstanceUuid: string;
}

export interface ReceiptDisk {
  readonly sourceUuid: string;
  readonly destinationUuid: string;
  readonly capacityBytes: string;
  /** Roots of the hash trees, lower-case hex. */
  readonly sourceRoot: string;
  readonly destinationRoot: string;
  /** `transfer`: proven by what was sent; `reread`: both disks were read again before. */
  readonly verified: 'transfer' | 'reread';
  readonly verifiedAt: string;
  /** Logical bytes by the way they took. */
  readonly movedBytes: { readonly network: string; readonly device: string; readonly deduplicated: string };
}

/** A program that took part: the agent of one side, or the management server. */
export interface ReceiptProgram {
  readonly version: string;
  /** Hash of the binary or package, lower-case hex; null where it is not known. */
  readonly sha256: string | null;
}

/** What is put into a receipt. Counts of bytes and the token are decimal strings; times ISO 8601 in UTC. */
export interface ReceiptContent {
  readonly receiptId: string;
  readonly installationId: string;
  readonly migrationId: string;
  readonly vmMigrationId: string;
  readonly source: ReceiptSide;
  readonly destination: ReceiptSide;
  readonly disks: readonly ReceiptDisk[];
  readonly handOverToken: string;
  readonly startedAt: string;
  readonly readyAt: string;
  readonly frozenAt: string;
  readonly handedOverAt: string;
  readonly dataPathMs: number;
  /** Principal that asked for the final migration, or `automatic`. */
  readonly approvedBy: string;
  readonly programs: {
    readonly managementServer: ReceiptProgram;
    readonly sourceReplicator: ReceiptProgram;
    readonly destinationReplicator: ReceiptProgram;
  };
}

/** A signed receipt: the content, what it was signed with, and the signature (both base64). */
export interface Receipt extends ReceiptContent {
  readonly format: typeof receiptFormat;
  readonly publicKey: string;
  readonly signature: string;
}

export interface ReceiptSigner {
  /** Base64 of the 32 bytes of the Ed25519 public key. */
  readonly publicKey: string;
  /** SHA-256 of those bytes, lower-case hex: what `landfall verify --trust` is given. */
  readonly fingerprint: string;
  signReceipt(content: ReceiptContent): Receipt;
}

/** Makes a signer of an Ed25519 private key. */
export function ed25519Signer(privateKey: KeyObject): ReceiptSigner {
  const raw = rawPublicKey(createPublicKey(privateKey));
  const publicKey = raw.toString('base64');
  return {
    publicKey,
    fingerprint: receiptKeyFingerprint(raw),
    signReceipt(content) {
      const unsigned = { ...content, format: receiptFormat, publicKey } as const;
      const signature = sign(null, signedBytes(unsigned), privateKey).toString('base64');
      return { ...unsigned, signature };
    },
  };
}

/**
 * Checks a receipt's signature and, where `trustedFingerprint` is given, who signed it. Returns the signer's fingerprint;
 * RECEIPT_INVALID otherwise.
 */
export function verifyReceipt(receipt: unknown, trustedFingerprint?: string): { fingerprint: string } {
  const { signature, ...unsigned } = asRecord(receipt);
  const { format, publicKey } = unsigned;
  if (format !== receiptFormat || typeof publicKey !== 'string' || typeof signature !== 'string') {
    throw new MigrationError('RECEIPT_INVALID', `this is not a receipt of the format ${receiptFormat}`);
  }
  const raw = Buffer.from(publicKey, 'base64');
  if (!isGenuine(raw, unsigned, signature)) {
    throw new MigrationError(
      'RECEIPT_INVALID',
      'the receipt was changed after it was signed, or its signature is broken',
    );
  }
  const fingerprint = receiptKeyFingerprint(raw);
  if (trustedFingerprint !== undefined && trustedFingerprint.toLowerCase() !== fingerprint) {
    throw new MigrationError('RECEIPT_INVALID', `the receipt was signed by another issuer, ${fingerprint}`);
  }
  return { fingerprint };
}

/** Canonical JSON (RFC 8785) as UTF-8. Only whole numbers up to 2^53 are taken: others are written differently by other languages. */
export function canonicalJson(value: unknown): Buffer {
  assertPlain(value);
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError('this value has no JSON form');
  return Buffer.from(text, 'utf8');
}

/** The signature covers this line and the canonical JSON after it, so that it cannot be mistaken for one over something else. */
function signedBytes(unsigned: object): Buffer {
  return Buffer.concat([Buffer.from(`${receiptFormat}\n`), canonicalJson(unsigned)]);
}

function isGenuine(rawKey: Buffer, unsigned: object, signature: string): boolean {
  try {
    const key = createPublicKey({
      key: { kty: 'OKP', crv: 'Ed25519', x: rawKey.toString('base64url') },
      format: 'jwk',
    });
    return verify(null, signedBytes(unsigned), key, Buffer.from(signature, 'base64'));
  } catch {
    return false;
  }
}

function rawPublicKey(key: KeyObject): Buffer {
  return Buffer.from(String(key.export({ format: 'jwk' }).x), 'base64url');
}

function receiptKeyFingerprint(rawKey: Buffer): string {
  return createHash('sha256').update(rawKey).digest('hex');
}

function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new MigrationError('RECEIPT_INVALID', 'this is not a receipt: it is no JSON object');
}

function assertPlain(value: unknown): void {
  if (typeof value === 'number' && !Number.isSafeInteger(value))
    throw new TypeError('only whole numbers up to 2^53 may be signed');
  if (typeof value === 'object' && value !== null) Object.values(value).forEach(assertPlain);
}
