/**
 * Ids of everything that is ours: a prefix that says what it is, then a UUIDv7, so that ids sort by
 * time. Clock and randomness are given by the caller; this file has neither.
 */
export const idPrefixes = [
  'site',
  'cl',
  'agent',
  'mig',
  'vmm',
  'disk',
  'own',
  'rcpt',
  'aud',
  'tok',
  'ins',
  'alarm',
] as const;
export type IdPrefix = (typeof idPrefixes)[number];

/** Makes `prefix_uuidv7` from 16 random bytes and a time in milliseconds. */
export function makeId(prefix: IdPrefix, clockMs: number, random: Uint8Array): string {
  return `${prefix}_${makeUuidV7(clockMs, random)}`;
}

/** A UUIDv7 (RFC 9562) of 16 random bytes, of which the time replaces the first six. */
export function makeUuidV7(clockMs: number, random: Uint8Array): string {
  if (random.length < 16) throw new RangeError('16 random bytes are needed');
  const bytes = Uint8Array.from(random.subarray(0, 16));
  for (let index = 0; index < 6; index += 1) {
    bytes[index] = Math.floor(clockMs / 2 ** (8 * (5 - index))) % 256;
  }
  bytes[6] = ((bytes[6] ?? 0) % 16) + 0x70;
  bytes[8] = ((bytes[8] ?? 0) % 64) + 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

const idPattern = /^[a-z]+_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

export function isId(prefix: IdPrefix, text: string): boolean {
  return text.startsWith(`${prefix}_`) && idPattern.test(text);
}
