// The hash tree of a disk, written again from docs/receipt.md with another BLAKE3 library: proof that a stranger can do it.
import { open } from 'node:fs/promises';
import { blake3 } from '@noble/hashes/blake3.js';

const chunkBytes = 1024 * 1024;
const leavesPerNode = 1024;
const zeroChunk = Buffer.alloc(chunkBytes);
const zeroLeaf = blake3(zeroChunk);

/** The root of a raw disk, lower-case hex. */
export async function rootOfDisk(path: string): Promise<string> {
  const disk = await open(path);
  try {
    const leaves: Uint8Array[] = [];
    let capacityBytes = 0;
    for (;;) {
      const chunk = Buffer.alloc(chunkBytes);
      const { bytesRead } = await disk.read(chunk, 0, chunkBytes, capacityBytes);
      if (bytesRead === 0) break;
      leaves.push(
        chunk.equals(zeroChunk) && bytesRead === chunkBytes ? zeroLeaf : blake3(chunk.subarray(0, bytesRead)),
      );
      capacityBytes += bytesRead;
    }
    return rootOfLeaves(leaves, capacityBytes);
  } finally {
    await disk.close();
  }
}

function rootOfLeaves(leaves: readonly Uint8Array[], capacityBytes: number): string {
  const nodes: Uint8Array[] = [];
  for (let at = 0; at < leaves.length; at += leavesPerNode) {
    nodes.push(blake3(Buffer.concat(leaves.slice(at, at + leavesPerNode))));
  }
  const capacity = Buffer.alloc(8);
  capacity.writeBigUInt64LE(BigInt(capacityBytes));
  return Buffer.from(blake3(Buffer.concat([...nodes, capacity]))).toString('hex');
}
