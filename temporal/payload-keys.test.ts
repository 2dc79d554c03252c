// The file of the payload keys when it is lost, and when it changes just while it is read.
import type * as Fs from 'node:fs/promises';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { openKeyring, openPayloadKeys, payloadKeysFile, readPayloadKeys, rotatePayloadKeys } from './payload-keys.ts';

const between = vi.hoisted(() => ({ afterReading: undefined as (() => Promise<unknown>) | undefined }));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof Fs>();
  return {
    ...real,
    readFile: async (file: string, encoding: 'utf8') => {
      const text = await real.readFile(file, encoding);
      const next = between.afterReading;
      between.afterReading = undefined;
      await next?.();
      return text;
    },
  };
});

let home: string;
let file: string;
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  home = await mkdtemp(join(tmpdir(), 'landfall-payload-keys-'));
  file = payloadKeysFile(home);
});
afterEach(async () => {
  vi.useRealTimers();
  await rm(home, { recursive: true, force: true });
});
const later = (): void => void vi.setSystemTime(Date.now() + 10_000);

it('makes no new keys where they were lost, neither to show them nor to add one', async () => {
  await openPayloadKeys(file);
  await rm(file);
  for (const use of [readPayloadKeys, rotatePayloadKeys]) {
    await expect(use(file)).rejects.toMatchObject({
      code: 'PAYLOAD_KEYS_UNREADABLE',
      message: `${file} is missing`,
      remedy: expect.stringContaining('from its backup') as string,
    });
  }
  await expect(stat(file)).rejects.toMatchObject({ code: 'ENOENT' });
});

it('forgets no key of a file that was lost and made anew', async () => {
  const ring = await openKeyring(file);
  const old = await ring.newest();
  await rm(file);
  const [made] = await openPayloadKeys(file);
  later();
  expect(await ring.newest()).toEqual(made);
  expect(await ring.find(old.id)).toEqual(old);
  expect(ring.all.at(-1)).toEqual(old);
});

it('notices a rotation that came while it read the file', async () => {
  await openPayloadKeys(file);
  let added: unknown;
  between.afterReading = async () => (added = await rotatePayloadKeys(file));
  const ring = await openKeyring(file);
  expect(ring.all).toHaveLength(1);
  later();
  expect(await ring.newest()).toEqual(added);
  expect(await readFile(file, 'utf8')).toContain((await ring.newest()).id);
});
