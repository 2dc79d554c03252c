// The installation's authority: made once, private, and what it signs.
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { chmod, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createRequest } from '../../test/helpers/certificates.ts';
import { needsRenewal, openAuthority, readServerCertificate } from './authority.ts';
import { createKeys, fingerprintOf, readCertificate } from './x509.ts';

const dayMs = 24 * 60 * 60_000;
let home: string;
let directory: string;

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'landfall-authority-test-'));
  directory = join(home, 'authority');
});
afterEach(() => rm(home, { recursive: true }));

describe('the authority', () => {
  it('is made once, however many open it at the same time', async () => {
    const opened = await Promise.all(Array.from({ length: 8 }, () => openAuthority(directory)));
    const again = await openAuthority(directory);
    for (const authority of opened) {
      expect(authority.installationId).toBe(again.installationId);
      expect(authority.certificatePem).toBe(again.certificatePem);
      expect(authority.encryptionKey).toEqual(again.encryptionKey);
      expect(authority.receiptSigner.fingerprint).toBe(again.receiptSigner.fingerprint);
    }
    expect((await readdir(directory)).sort()).toEqual(['authority.json', 'authority.pem']);
  });

  it('keeps its files from others', async () => {
    await (await openAuthority(directory)).ensureServerCertificate();
    expect((await stat(directory)).mode & 0o777).toBe(0o700);
    expect((await stat(join(directory, 'authority.json'))).mode & 0o777).toBe(0o600);
    expect((await stat(join(directory, 'api-server.json'))).mode & 0o777).toBe(0o600);
    expect(await readFile(join(directory, 'authority.pem'), 'utf8')).not.toContain('PRIVATE');
  });

  it('refuses keys that others could read, and keys that are damaged', async () => {
    await openAuthority(directory);
    await chmod(join(directory, 'authority.json'), 0o640);
    await expect(openAuthority(directory)).rejects.toMatchObject({ code: 'AUTHORITY_EXPOSED' });
    await chmod(join(directory, 'authority.json'), 0o600);
    await writeFile(join(directory, 'authority.json'), '{"formatVersion":1');
    const failure: unknown = await openAuthority(directory).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'AUTHORITY_UNREADABLE' });
  });

  it('signs requests with exactly the name it is told, for a week, whatever the request says', async () => {
    const now = new Date('2026-11-21T12:00:00Z');
    const authority = await openAuthority(directory, () => now);
    const { keys } = await createKeys();
    const csrPem = await createRequest(keys);
    for (const [role, id, use] of [
      ['host', '0197f0c0-0000-7000-8000-000000000001', 'serverAuth'],
      ['receiver', 'vmm_01', 'serverAuth'],
      ['source', 'vmm_01', 'clientAuth'],
    ] as const) {
      const issued = await authority.signRequest(csrPem, { role, id });
      const facts = readCertificate(issued.certificatePem);
      expect(facts?.uris).toEqual([`spiffe://landfall/${authority.installationId}/${role}/${id}`]);
      expect(issued.spiffeId).toBe(facts?.uris[0]);
      expect(facts?.hosts).toEqual([]);
      expect(facts?.notAfter).toEqual(new Date(now.getTime() + 7 * dayMs));
      expect(issued.spkiSha256).toBe(fingerprintOf(facts?.spkiDer ?? Buffer.alloc(0)));
      const certificate = new X509Certificate(issued.certificatePem);
      expect(certificate.verify(new X509Certificate(authority.certificatePem).publicKey)).toBe(true);
      expect(certificate.ca).toBe(false);
      expect(certificate.keyUsage).toEqual([use === 'serverAuth' ? '1.3.6.1.5.5.7.3.1' : '1.3.6.1.5.5.7.3.2']);
    }
  });

  it('refuses broken requests and names that could be read as another', async () => {
    const authority = await openAuthority(directory);
    const csrPem = await createRequest((await createKeys()).keys);
    const lines = csrPem.trim().split('\n');
    const body = Buffer.from(lines.slice(1, -1).join(''), 'base64');
    body[body.length - 1] = (body[body.length - 1] ?? 0) ^ 1;
    const tampered = `${lines[0]}\n${body.toString('base64')}\n${lines.at(-1)}`;
    for (const broken of ['', 'no PEM', tampered]) {
      await expect(authority.signRequest(broken, { role: 'source', id: 'vmm_1' })).rejects.toMatchObject({
        code: 'CERTIFICATE_REQUEST_INVALID',
      });
    }
    for (const id of ['', '../server', 'a/b', 'a b', '.hidden']) {
      await expect(authority.signRequest(csrPem, { role: 'receiver', id })).rejects.toBeInstanceOf(TypeError);
    }
  });

  it('keeps the API certificate between starts and renews it by age or for a new name', async () => {
    let now = new Date('2026-11-21T12:00:00Z');
    const authority = await openAuthority(directory, () => now);
    expect(await readServerCertificate(directory)).toBeNull();
    const first = await authority.ensureServerCertificate(['management.example', '192.0.2.7']);
    expect(readCertificate(first.certificatePem)?.hosts).toEqual(
      expect.arrayContaining(['localhost', '127.0.0.1', 'management.example', '192.0.2.7']),
    );
    const again = await (await openAuthority(directory, () => now)).ensureServerCertificate(['192.0.2.7']);
    expect(again).toEqual(first);
    expect(await readServerCertificate(directory)).toEqual(first);
    const widened = await authority.ensureServerCertificate(['another.example']);
    expect(widened.certificatePem).not.toBe(first.certificatePem);
    now = new Date(now.getTime() + 61 * dayMs);
    expect((await authority.ensureServerCertificate(['another.example'])).notAfter > widened.notAfter).toBe(true);
  });

  it('renews the management identity before it ends', async () => {
    let now = new Date('2026-11-21T12:00:00Z');
    const authority = await openAuthority(directory, () => now);
    const [first, second] = await Promise.all([authority.managementIdentity(), authority.managementIdentity()]);
    expect(second).toEqual(first);
    now = new Date(now.getTime() + 3 * dayMs);
    expect(needsRenewal(first.notAfter, now)).toBe(true);
    const renewed = await authority.managementIdentity();
    expect(renewed.notAfter > first.notAfter).toBe(true);
    expect(readCertificate(renewed.certificatePem)?.uris).toEqual([
      `spiffe://landfall/${authority.installationId}/server`,
    ]);
    expect(() => createPrivateKey(renewed.privateKeyPem)).not.toThrow();
  });

  it('gives each agent and attempt a secret of its own, and the same one again', async () => {
    const authority = await openAuthority(directory);
    const secrets = [
      authority.enrolSecretFor('receiver', 'vmm_1', 1),
      authority.enrolSecretFor('receiver', 'vmm_1', 2),
      authority.enrolSecretFor('receiver', 'vmm_2', 1),
      authority.enrolSecretFor('host', 'vmm_1', 1),
    ];
    expect(new Set(secrets).size).toBe(4);
    expect((await openAuthority(directory)).enrolSecretFor('receiver', 'vmm_1', 1)).toBe(secrets[0]);
    expect(Buffer.from(secrets[0] ?? '', 'base64')).toHaveLength(32);
  });
});
