// Contents of images: seeded random bytes, and the files of this system one after another. It writes nothing.
import { createCipheriv, createHash, type Cipher } from 'node:crypto';
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** Files begin on such a boundary, as on a disk. */
const blockBytes = 4096;

/** Bytes that cannot be compressed, the same for the same seed. */
export function randomStream(seed: string): (length: number) => Buffer {
  const key = createHash('sha256').update(seed).digest();
  const cipher: Cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16));
  const zeroes = Buffer.alloc(1024 * 1024);
  return (length) => cipher.update(length <= zeroes.length ? zeroes.subarray(0, length) : Buffer.alloc(length));
}

/** What lies in `folders`, in the order of the names, each file padded to whole blocks; from the beginning again at the end. */
export function systemStream(folders: readonly string[]): (length: number) => Buffer {
  const names = folders.flatMap((folder) => filesBelow(folder));
  let at = 0;
  let file: number | undefined;
  let rounds = 0;
  return (length) => {
    const block = Buffer.alloc(length);
    let filled = 0;
    while (filled < length) {
      if (file === undefined) {
        const name = names[at % names.length];
        if (name === undefined) throw new Error(`no files in ${folders.join(', ')} to make an image of`);
        at += 1;
        if (at % names.length === 0 && (rounds += 1) > 100) throw new Error('too few files to make an image of');
        file = openSync(name, 'r');
      }
      const count = readSync(file, block, filled, length - filled, null);
      filled += count;
      if (count > 0) continue;
      closeSync(file);
      file = undefined;
      filled = Math.min(length, Math.ceil(filled / blockBytes) * blockBytes);
    }
    return block;
  };
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
