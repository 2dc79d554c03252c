import { mkdtemp, readdir, rm, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { payloadKeysFile } from '../temporal/payload-keys.ts';
import { ensureAuthority, requireAuthority } from './home-authority.ts';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'landfall-home-'));
});
afterEach(() => rm(home, { recursive: true }));

it('refuses a home without an authority, says what to share, and makes nothing', async () => {
  await expect(requireAuthority(home)).rejects.toMatchObject({
    code: 'AUTHORITY_UNREADABLE',
    remedy: expect.stringContaining('LANDFALL_HOME') as string,
  });
  expect(await readdir(home)).toEqual([]);
});

it('refuses a home that lacks only the keys of payloads', async () => {
  await ensureAuthority(home);
  await requireAuthority(home);
  await unlink(payloadKeysFile(home));
  await expect(requireAuthority(home)).rejects.toMatchObject({
    message: expect.stringContaining('payload-keys.json') as string,
  });
});
