// Receipts that the management server signs are checked by the replicator alone, and its hash tree is the documented one.
import { execFile } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ed25519Signer } from '../../dataplane/client/receipt.ts';
import type { Receipt } from '../../dataplane/client/index.ts';
import { rootOfDisk } from '../helpers/hash-tree.ts';
import { receiptContent, receiptDisk } from '../helpers/receipt-content.ts';

const run = promisify(execFile);
const signer = ed25519Signer(generateKeyPairSync('ed25519').privateKey);
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'landfall-receipt-'));
});
afterAll(() => rm(folder, { recursive: true }));

interface Verdict {
  readonly exitCode: number;
  readonly output: string;
}

async function verify(receipt: unknown, ...options: string[]): Promise<Verdict> {
  const file = join(folder, 'receipt.json');
  await writeFile(file, JSON.stringify(receipt, null, 2));
  try {
    const { stdout, stderr } = await run('build/replicator', ['verify-receipt', file, ...options]);
    return { exitCode: 0, output: stdout + stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: unknown; stdout: string; stderr: string };
    if (typeof code !== 'number') throw error;
    return { exitCode: code, output: stdout + stderr };
  }
}

describe('replicator verify-receipt', () => {
  const receipt: Receipt = signer.signReceipt(receiptContent);

  it('takes what the management server signed, and says that the issuer is unknown', async () => {
    const verdict = await verify(receipt);
    expect(verdict.output).toMatch(/valid, issuer unknown/);
    expect(verdict.exitCode).toBe(0);
  });

  it('knows the issuer by its fingerprint, and refuses another', async () => {
    expect((await verify(receipt, '--trust', signer.fingerprint)).exitCode).toBe(0);
    expect((await verify(receipt, '--trust', 'ab'.repeat(32))).exitCode).not.toBe(0);
  });

  it('refuses a receipt that was changed, also where only a member was added or a name changed in how it is written', async () => {
    expect((await verify({ ...receipt, handOverToken: '2' })).exitCode).not.toBe(0);
    expect((await verify({ ...receipt, note: 'added' })).exitCode).not.toBe(0);
    const { source } = receipt;
    expect((await verify({ ...receipt, source: { ...source, vmName: `${source.vmName} ` } })).exitCode).not.toBe(0);
    expect((await verify('no receipt')).exitCode).not.toBe(0);
  });

  it('finds the disk of the receipt by a tree that was computed with another library', async () => {
    const path = join(folder, 'disk.raw');
    const disk = await open(path, 'w');
    await disk.truncate(1030 * 1024 * 1024 + 512);
    await disk.write(randomBytes(3 * 1024 * 1024), 0, undefined, 7 * 1024 * 1024 - 5);
    await disk.write(randomBytes(512), 0, 512, 1030 * 1024 * 1024);
    await disk.close();
    const root = await rootOfDisk(path);
    const capacityBytes = String(1030 * 1024 * 1024 + 512);
    const ours = { ...receiptDisk, capacityBytes, sourceRoot: root, destinationRoot: root };
    const signed = signer.signReceipt({ ...receiptContent, disks: [ours] });
    expect(await verify(signed, '--disk', path)).toMatchObject({ exitCode: 0 });
    expect((await verify(receipt, '--disk', path)).exitCode).not.toBe(0);
  });
});
