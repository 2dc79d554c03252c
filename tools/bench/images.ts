/**
 * Source disks of the benches, made once and kept in the cache folder. An image that is there is never written to: who lets a
 * guest write takes a copy.
 */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { randomStream, systemStream } from './image-content.ts';
import { bytesOf, mixedLayout, sparseLayout, type Extent } from './image-layout.ts';
import { checkFreeSpace } from './storage.ts';

const mib = 2 ** 20;
const gib = 2 ** 30;
const tib = 2 ** 40;
/** Part of the names: another content is another image. */
const version = 1;
const writeBytes = mib;
const systemFolders = ['/usr/bin', '/usr/lib', '/usr/share'];

export interface Image {
  readonly name: string;
  readonly path: string;
  readonly capacityBytes: number;
  readonly extents: readonly Extent[];
  /** Bytes that are not holes, written zeroes included. */
  readonly allocatedBytes: number;
  /** Bytes that are not zero (files of the system have zeroes of their own; they count as content). */
  readonly contentBytes: number;
}

interface Plan {
  readonly name: string;
  readonly capacityBytes: number;
  readonly extents: readonly Extent[];
}

export type ImageName = keyof typeof plans;

const plans = {
  /** 25 % holes, 15 % written zeroes, 35 % files of the system, 25 % random. */
  mixed: (quick: boolean) =>
    mixed('mixed', quick ? 256 * mib : 4 * gib, { hole: 0.25, zero: 0.15, system: 0.35, random: 0.25 }),
  random: (quick: boolean) => mixed('random', quick ? 256 * mib : 4 * gib, { random: 1 }),
  large: (quick: boolean) => mixed('large', quick ? 512 * mib : 8 * gib, { random: 1 }),
  small: (quick: boolean) => mixed('small', quick ? 128 * mib : gib, { random: 1 }),
  tiny: (quick: boolean) => mixed('tiny', quick ? 256 * mib : 384 * mib, { random: 1 }),
  leaves: () => mixed('leaves', 512 * mib, { random: 1 }),
  holes: (quick: boolean) => mixed('holes', quick ? 512 * mib : 4 * gib, { hole: 0.9, random: 0.1 }),
  huge: (quick: boolean) => {
    const capacityBytes = quick ? tib : 15 * tib;
    return { name: 'huge', capacityBytes, extents: sparseLayout(capacityBytes, quick ? 16 * mib : 64 * mib, 15) };
  },
} satisfies Record<string, (quick: boolean) => Plan>;

function mixed(name: string, capacityBytes: number, shares: Parameters<typeof mixedLayout>[1]): Plan {
  return { name, capacityBytes, extents: mixedLayout(capacityBytes, shares, 4) };
}

/** The image, made if it is not there yet. */
export async function imageOf(
  name: ImageName,
  options: { readonly cache: string; readonly quick: boolean; say(text: string): void },
): Promise<Image> {
  const plan = plans[name](options.quick);
  const path = join(options.cache, `${name}-${plan.capacityBytes / mib}m-v${version}.raw`);
  const contentBytes = bytesOf(plan.extents, 'system', 'random');
  const allocatedBytes = contentBytes + bytesOf(plan.extents, 'zero');
  if (!existsSync(path)) {
    checkFreeSpace(options.cache, allocatedBytes, `the image "${name}"`);
    options.say(`making the image "${name}" (${(allocatedBytes / gib).toFixed(1)} GiB) in ${options.cache}`);
    await write(plan, path);
  }
  return { name, path, capacityBytes: plan.capacityBytes, extents: plan.extents, allocatedBytes, contentBytes };
}

async function write(plan: Plan, path: string): Promise<void> {
  const part = `${path}.part`;
  rmSync(part, { force: true });
  const file = await open(part, 'wx', 0o600);
  try {
    await file.truncate(plan.capacityBytes).catch((error: unknown) => {
      throw new Error(`${part} cannot have ${plan.capacityBytes} bytes: this file system cannot hold a file so large`, {
        cause: error,
      });
    });
    const random = randomStream(plan.name);
    const system = plan.extents.some(({ content }) => content === 'system') ? systemStream(systemFolders) : random;
    for (const { offset, length, content } of plan.extents) {
      if (content === 'hole') continue;
      for (let done = 0; done < length; done += writeBytes) {
        const count = Math.min(writeBytes, length - done);
        const bytes = content === 'zero' ? Buffer.alloc(count) : content === 'system' ? system(count) : random(count);
        await file.write(bytes, 0, count, offset + done);
      }
    }
    await file.sync();
  } finally {
    await file.close();
  }
  renameSync(part, path);
}
