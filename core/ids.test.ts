import { describe, expect, it } from 'vitest';
import { isId, makeId, makeUuidV7 } from './ids.ts';

const random = Uint8Array.from({ length: 16 }, (_, index) => index * 17);

describe('ids', () => {
  it('puts the time first, so that ids sort by it', () => {
    const ids = [1, 2 ** 32, 2 ** 47].map((clockMs) => makeId('mig', clockMs, random));
    expect([...ids].sort()).toEqual(ids);
    expect(makeUuidV7(0x0123456789ab, random)).toMatch(/^01234567-89ab-7/);
  });

  it('carries version and variant of a UUIDv7 whatever the randomness', () => {
    for (const byte of [0, 0xff]) {
      const uuid = makeUuidV7(Date.UTC(2026, 10, 21), new Uint8Array(16).fill(byte));
      expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    }
  });

  it('knows its own kind', () => {
    const id = makeId('vmm', 1, random);
    expect([isId('vmm', id), isId('mig', id), isId('vmm', 'vmm_1')]).toEqual([true, false, false]);
  });

  it('refuses too little randomness', () => {
    expect(() => makeUuidV7(1, new Uint8Array(15))).toThrow(RangeError);
  });
});
