import { chmod, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Payload } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { encryptedEncoding, makePayloadCodec } from './payload-codec.ts';
import { fixedKeyring, openKeyring, openPayloadKeys, payloadKeysFile, rotatePayloadKeys } from './payload-keys.ts';

let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'landfall-keys-'));
});
afterAll(() => rm(home, { recursive: true, force: true }));

const payload = (text: string): Payload => ({
  metadata: { encoding: Buffer.from('json/plain') },
  data: Buffer.from(JSON.stringify(text)),
});
const flip = (bytes: Uint8Array, at: number): Buffer => {
  const changed = Buffer.from(bytes);
  changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
  return changed;
};

describe('payload codec', () => {
  it('makes keys once, for the owner only, whoever comes first', async () => {
    const file = payloadKeysFile(home);
    const [one, other] = await Promise.all([openPayloadKeys(file), openPayloadKeys(file)]);
    expect(one).toEqual(other);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readFile(file, 'utf8')).toContain(one[0]?.id);
  });

  it('gives back what it was given, and shows nothing of it', async () => {
    const codec = makePayloadCodec(await openKeyring(payloadKeysFile(home)));
    const [sealed, again] = await codec.encode([payload('top secret'), payload('top secret')]);
    expect(Buffer.from(sealed?.metadata?.['encoding'] ?? []).toString()).toBe(encryptedEncoding);
    expect(Buffer.from(sealed?.data ?? []).includes('secret')).toBe(false);
    expect(sealed?.data).not.toEqual(again?.data);
    const [opened] = await codec.decode([sealed as Payload]);
    expect(Buffer.from(opened?.data ?? []).toString()).toBe('"top secret"');
    expect(Buffer.from(opened?.metadata?.['encoding'] ?? []).toString()).toBe('json/plain');
  });

  it('opens what was written before a rotation, and writes with the new key', async () => {
    const file = payloadKeysFile(home);
    const [old] = await makePayloadCodec(await openKeyring(file)).encode([payload('old')]);
    const { id } = await rotatePayloadKeys(file);
    const codec = makePayloadCodec(await openKeyring(file));
    const [opened] = await codec.decode([old as Payload]);
    expect(Buffer.from(opened?.data ?? []).toString()).toBe('"old"');
    const [fresh] = await codec.encode([payload('new')]);
    expect(Buffer.from(fresh?.metadata?.['key-id'] ?? []).toString()).toBe(id);
  });

  it('follows a rotation while it runs: reads at once, writes with the new key soon, loses none', async () => {
    const file = payloadKeysFile(home);
    const [running, other] = [makePayloadCodec(await openKeyring(file)), makePayloadCodec(await openKeyring(file))];
    const [before] = await running.encode([payload('before')]);
    const { id } = await rotatePayloadKeys(file);
    const writesNew = async (codec: typeof running): Promise<boolean> => {
      const [sealed] = await codec.encode([payload('after')]);
      return Buffer.from(sealed?.metadata?.['key-id'] ?? []).toString() === id;
    };
    await vi.waitFor(async () => expect(await writesNew(running)).toBe(true), { timeout: 20_000 });
    // The other one has not looked at the file yet when it meets the new key.
    const [after] = await running.encode([payload('after')]);
    expect(Buffer.from((await other.decode([after as Payload]))[0]?.data ?? []).toString()).toBe('"after"');
    expect(Buffer.from((await other.decode([before as Payload]))[0]?.data ?? []).toString()).toBe('"before"');
  });

  it('goes on with the keys that it has when the file is lost, and says so of any other', async () => {
    const lost = payloadKeysFile(await mkdtemp(join(tmpdir(), 'landfall-keys-lost-')));
    const codec = makePayloadCodec(await openKeyring(lost));
    const [sealed] = await codec.encode([payload('kept')]);
    const [foreign] = await makePayloadCodec(await openKeyring(payloadKeysFile(home))).encode([payload('x')]);
    await rm(dirname(dirname(lost)), { recursive: true });
    expect(Buffer.from((await codec.decode([sealed as Payload]))[0]?.data ?? []).toString()).toBe('"kept"');
    await expect(codec.decode([foreign as Payload])).rejects.toMatchObject({ code: 'PAYLOAD_KEYS_UNREADABLE' });
  });

  it('refuses keys that others could read', async () => {
    const exposed = payloadKeysFile(await mkdtemp(join(tmpdir(), 'landfall-keys-exposed-')));
    await openPayloadKeys(exposed);
    for (const mode of [0o640, 0o604]) {
      await chmod(exposed, mode);
      await expect(openKeyring(exposed)).rejects.toMatchObject({ code: 'AUTHORITY_EXPOSED' });
    }
    await chmod(exposed, 0o600);
    expect((await openKeyring(exposed)).all).toHaveLength(1);
    await rm(dirname(dirname(exposed)), { recursive: true });
  });

  it('refuses what was changed, and a key that it does not have', async () => {
    const codec = makePayloadCodec(await openKeyring(payloadKeysFile(home)));
    const [sealed] = await codec.encode([payload('x')]);
    for (const at of [0, 15, (sealed?.data?.length ?? 1) - 1]) {
      const changed = { ...sealed, data: flip(sealed?.data ?? new Uint8Array(), at) };
      await expect(codec.decode([changed])).rejects.toMatchObject({ code: 'PAYLOAD_KEY_UNKNOWN' });
    }
    const stranger = makePayloadCodec(fixedKeyring([{ id: 'other', key: Buffer.alloc(32), createdAt: null }]));
    await expect(stranger.decode([sealed as Payload])).rejects.toMatchObject({ code: 'PAYLOAD_KEY_UNKNOWN' });
  });

  it('lets through what was never encrypted', async () => {
    const codec = makePayloadCodec(await openKeyring(payloadKeysFile(home)));
    expect(await codec.decode([payload('plain')])).toEqual([payload('plain')]);
  });
});
