// Compares two disk files byte by byte. It uses no hash and nothing of the product: it is the judge of the product's own.

import { open } from 'node:fs/promises';

const CHUNK_BYTES = 4 * 1024 * 1024;

/** Where two disks differ first, or null when they are equal in length and in every byte. */
export interface Difference {
  readonly offsetBytes: number;
  readonly description: string;
}

/** Reads both files to their ends. Both must be quiet: a guest that writes meanwhile makes the answer worthless. */
export async function compareDisks(leftPath: string, rightPath: string): Promise<Difference | null> {
  const left = await open(leftPath, 'r');
  const right = await open(rightPath, 'r');
  try {
    const [leftStat, rightStat] = [await left.stat(), await right.stat()];
    if (leftStat.size !== rightStat.size) {
      const description = `${String(leftStat.size)} bytes against ${String(rightStat.size)} bytes`;
      return { offsetBytes: Math.min(leftStat.size, rightStat.size), description };
    }
    const [leftChunk, rightChunk] = [Buffer.allocUnsafe(CHUNK_BYTES), Buffer.allocUnsafe(CHUNK_BYTES)];
    for (let offset = 0; offset < leftStat.size; offset += CHUNK_BYTES) {
      const wanted = Math.min(CHUNK_BYTES, leftStat.size - offset);
      const [leftRead, rightRead] = await Promise.all([
        left.read(leftChunk, 0, wanted, offset),
        right.read(rightChunk, 0, wanted, offset),
      ]);
      if (leftRead.bytesRead !== wanted || rightRead.bytesRead !== wanted) {
        return { offsetBytes: offset, description: 'one of the files ended early' };
      }
      if (!leftChunk.subarray(0, wanted).equals(rightChunk.subarray(0, wanted))) {
        const within = firstDifference(leftChunk, rightChunk, wanted);
        return { offsetBytes: offset + within, description: `byte ${String(offset + within)} differs` };
      }
    }
    return null;
  } finally {
    await left.close();
    await right.close();
  }
}

function firstDifference(left: Buffer, right: Buffer, length: number): number {
  for (let index = 0; index < length; index += 1) if (left[index] !== right[index]) return index;
  return length;
}
