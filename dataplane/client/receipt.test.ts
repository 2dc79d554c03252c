// Canonical JSON against RFC 8785, and receipts that must not survive any change.
import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { receiptContent as content } from '../../test/helpers/receipt-content.ts';
import { canonicalJson, ed25519Signer, verifyReceipt } from './receipt.ts';
import type { Receipt } from './receipt.ts';

const signer = ed25519Signer(generateKeyPairSync('ed25519').privateKey);

describe('canonical JSON', () => {
  it('sorts members by UTF-16 code units (RFC 8785, 3.2.3)', () => {
    const members = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\ud83d\ude00': 5, '\u0080': 6, '\u00f6': 7 };
    expect(canonicalJson(members).toString()).toBe(
      '{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\ud83d\ude00":5,"\ufb33":3}',
    );
  });

  it('escapes strings the shortest way (RFC 8785, 3.2.2.2)', () => {
    expect(canonicalJson('\u20ac$\u000f\nA\'B"\\\\"/\u007f').toString()).toBe(
      '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\u007f"',
    );
  });

  it('takes no number that other languages write differently', () => {
    expect(canonicalJson({ a: [-0, 1, 9007199254740991] }).toString()).toBe('{"a":[0,1,9007199254740991]}');
    for (const number of [0.5, 1e300, NaN, Infinity, 9007199254740992]) {
      expect(() => canonicalJson({ deep: [{ number }] })).toThrow(TypeError);
    }
    expect(() => canonicalJson(undefined)).toThrow(TypeError);
  });

  it('says the same whatever the order of members', () => {
    const value = fc.dictionary(
      fc.string(),
      fc.oneof(fc.string(), fc.boolean(), fc.maxSafeInteger(), fc.constant(null)),
    );
    fc.assert(
      fc.property(value, (members) => {
        const reversed = Object.fromEntries(Object.entries(members).reverse());
        expect(canonicalJson(reversed)).toEqual(canonicalJson(members));
        expect(JSON.parse(canonicalJson(members).toString())).toEqual(JSON.parse(JSON.stringify(members)));
      }),
    );
  });
});

describe('a receipt', () => {
  const receipt = signer.signReceipt(content);

  it('is valid, also after it went through a file, and names its issuer', () => {
    const read: unknown = JSON.parse(JSON.stringify(receipt, null, 4));
    expect(verifyReceipt(read)).toEqual({ fingerprint: signer.fingerprint });
    expect(verifyReceipt(read, signer.fingerprint.toUpperCase())).toEqual({ fingerprint: signer.fingerprint });
  });

  it('is refused when it comes from another issuer than the trusted one', () => {
    const foreign = ed25519Signer(generateKeyPairSync('ed25519').privateKey);
    expect(() => verifyReceipt(foreign.signReceipt(content), signer.fingerprint)).toThrow(/another issuer/);
    expect(() => verifyReceipt({ ...receipt, publicKey: foreign.publicKey })).toThrow(/changed after it was signed/);
  });

  it('does not survive the change of any value, nor a member more or less', () => {
    const paths = leavesOf(receipt);
    expect(paths.length).toBeGreaterThan(35);
    for (const path of paths) {
      expect(() => verifyReceipt(changed(receipt, path)), path.join('.')).toThrow();
    }
    expect(() => verifyReceipt({ ...receipt, added: 1 })).toThrow();
    const { approvedBy: _removed, ...without } = receipt;
    expect(() => verifyReceipt(without)).toThrow();
  });

  it('is refused with a clear code when it is something else', () => {
    for (const other of [
      null,
      'text',
      [],
      {},
      { ...receipt, format: 'landfall-receipt/2' },
      { ...receipt, signature: 5 },
    ]) {
      expect(() => verifyReceipt(other)).toThrow(expect.objectContaining({ code: 'RECEIPT_INVALID' }));
    }
    expect(() => verifyReceipt({ ...receipt, publicKey: 'AAAA' })).toThrow(
      expect.objectContaining({ code: 'RECEIPT_INVALID' }),
    );
  });
});

type Path = readonly string[];

function leavesOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path];
  return Object.entries(value).flatMap(([name, member]) => leavesOf(member, [...path, name]));
}

function changed(receipt: Receipt, path: Path): unknown {
  const copy = structuredClone(receipt) as unknown as Record<string, unknown>;
  const parent = path
    .slice(0, -1)
    .reduce<Record<string, unknown>>((at, name) => at[name] as Record<string, unknown>, copy);
  const last = path.at(-1) ?? '';
  const value = parent[last];
  parent[last] = typeof value === 'string' ? flipped(value) : typeof value === 'number' ? value + 1 : 'was null';
  return copy;
}

/** Another first character; base64 stays base64, so that the signature itself is refused and not only its form. */
function flipped(text: string): string {
  return (text.startsWith('A') ? 'B' : 'A') + text.slice(1);
}
