// Where the extents of a bench's images lie and what is in them: pure and seeded, so that every run copies the same disk.

export type Content = 'hole' | 'zero' | 'system' | 'random';

export interface Extent {
  readonly offset: number;
  readonly length: number;
  readonly content: Content;
}

/** What part of an image is what; together 1. */
export type Shares = Readonly<Partial<Record<Content, number>>>;

const lengthMin = 64 * 1024;
/** Lengths are powers of two times the smallest: from 64 KiB to 8 MiB, as files on a used disk are. */
const lengthSteps = 8;

/** Numbers from 0 (included) to 1 (excluded); mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A disk of pieces of different length and content, mixed; the shares hold for the whole disk to the last piece. */
export function mixedLayout(capacityBytes: number, shares: Shares, seed: number): Extent[] {
  const next = seeded(seed);
  const left = Object.entries(shares).map(([content, share]) => ({
    content: content as Content,
    bytes: share * capacityBytes,
  }));
  const extents: Extent[] = [];
  for (let offset = 0; offset < capacityBytes;) {
    let at = next() * left.reduce((sum, { bytes }) => sum + Math.max(bytes, 0), 0);
    const chosen = left.find(({ bytes }) => (at -= Math.max(bytes, 0)) < 0) ?? left[0];
    if (chosen === undefined) throw new Error('an image without content');
    const wanted = lengthMin * 2 ** Math.floor(next() * lengthSteps);
    const most = Math.max(lengthMin, Math.floor(chosen.bytes / lengthMin) * lengthMin);
    const length = Math.min(wanted, most, capacityBytes - offset);
    extents.push({ offset, length, content: chosen.content });
    chosen.bytes -= length;
    offset += length;
  }
  return extents;
}

/** A huge disk with a few extents far apart; `dataBytes` is a multiple of their length. */
export function sparseLayout(capacityBytes: number, dataBytes: number, seed: number): Extent[] {
  const length = 256 * 1024;
  const count = dataBytes / length;
  const next = seeded(seed);
  const field = Math.floor(capacityBytes / count / length);
  return Array.from({ length: count }, (_, at) => ({
    offset: (at * field + Math.floor(next() * field)) * length,
    length,
    content: 'random' as const,
  }));
}

export function bytesOf(extents: readonly Extent[], ...contents: readonly Content[]): number {
  return extents.reduce((sum, { content, length }) => sum + (contents.includes(content) ? length : 0), 0);
}
