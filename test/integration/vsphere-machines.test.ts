// The vSphere client against the lab: datastore files, virtual machines and disks, policies, and the IO filter.
import 'reflect-metadata';
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from '@peculiar/x509';
import { createHash, randomBytes, webcrypto } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  attachDisks,
  deleteDisk,
  deleteFile,
  deletePolicy,
  destroyVm,
  detachDisks,
  diskExists,
  disksWithPolicy,
  downloadFile,
  ensureDisk,
  ensurePolicy,
  ensureVm,
  fileSize,
  filterIssues,
  findPolicy,
  installFilter,
  listFilters,
  makeFolder,
  makeUniqueFolder,
  moveDisk,
  policiesOfDisk,
  powerOffVm,
  powerOnVm,
  queryDiskUuid,
  readFile,
  readHostOptions,
  searchFiles,
  setDiskPolicy,
  setDiskUuid,
  setHostOptions,
  shutDownGuest,
  uninstallFilter,
  uploadFile,
  waitForAddress,
  waitForPowerState,
  type VsphereSession,
} from '../../vsphere/index.ts';
import { appVm, openVsphereLab, placeOf, shadowVm, type VsphereLab } from '../helpers/vsphere-lab.ts';

let vsphere: VsphereLab;
let source: VsphereSession;
let destination: VsphereSession;

beforeAll(async () => {
  vsphere = await openVsphereLab();
  ({ source, destination } = vsphere);
}, 120_000);
afterAll(() => vsphere?.close());

const mib = 1024 * 1024;

describe('datastore files across the WAN', () => {
  it('uploads, verifies, finds, downloads and deletes; each may be repeated', async () => {
    const place = await placeOf(destination);
    const content = randomBytes(5 * mib + 17);
    const path = '[datastore1] landfall test/agent 1.iso';
    await makeFolder(destination, place, '[datastore1] landfall test/inner');
    await makeFolder(destination, place, '[datastore1] landfall test/inner');
    let sent = 0;
    const onProgress = (bytes: number): void => void (sent = bytes);
    await uploadFile(destination, place, path, content.subarray(0, mib), mib);
    await uploadFile(destination, place, path, Readable.from(slices(content)), content.length, { onProgress });
    expect(sent).toBe(content.length);
    expect(await fileSize(destination, place, path)).toBe(content.length);
    const hash = createHash('sha256');
    for await (const chunk of await downloadFile(destination, place, path)) hash.update(chunk as Buffer);
    expect(hash.digest('hex')).toBe(createHash('sha256').update(content).digest('hex'));
    expect(await searchFiles(destination, place.datastore.browser, '[datastore1] landfall test', '*.iso')).toEqual([
      { path, sizeBytes: BigInt(content.length) },
    ]);
    expect(await makeUniqueFolder(destination, place, '[datastore1] landfall test')).toBe(
      '[datastore1] landfall test_1',
    );
    for (const gone of ['[datastore1] landfall test_1', '[datastore1] landfall test', '[datastore1] landfall test']) {
      await deleteFile(destination, place, gone);
    }
    expect(await fileSize(destination, place, path)).toBeUndefined();
    await expect(readFile(destination, place, path)).rejects.toMatchObject({ code: 'VSPHERE_NOT_FOUND' });
  });

  it('says that an upload was cut short', async () => {
    const place = await placeOf(destination);
    const path = '[datastore1] short.iso';
    const short = uploadFile(destination, place, path, Buffer.alloc(10), 20);
    await expect(short).rejects.toMatchObject({ retry: 'retryable' });
    await deleteFile(destination, place, path);
  });
});

describe('virtual machines and disks', () => {
  it('makes, attaches, protects, detaches, moves and removes; each may be repeated', async () => {
    const place = await placeOf(destination);
    const disk = '[datastore1] final-01/final-01.vmdk';
    const moved = '[datastore1] final-01/moved.vmdk';
    await makeFolder(destination, place, '[datastore1] final-01');
    await ensureDisk(destination, place.datacenter, disk, BigInt(16 * mib));
    await ensureDisk(destination, place.datacenter, disk, BigInt(16 * mib));
    const spec = shadowVm(place, 'shadow-01', 'vmm_test/shadow');
    const vm = await ensureVm(destination, spec);
    expect(await ensureVm(destination, spec)).toEqual(vm);
    await expect(ensureVm(destination, { ...spec, owner: 'someone else' })).rejects.toMatchObject({
      code: 'VSPHERE_INVALID_ARGUMENT',
    });
    const wanted = { path: disk, capacityBytes: BigInt(16 * mib), controllerKey: 1000, unitNumber: 0 } as const;
    const attach = () => attachDisks(destination, vm, [{ ...wanted, mode: 'independent_persistent' }]);
    const [attached] = await attach();
    expect(await attach()).toEqual([attached]);
    expect(attached).toMatchObject({ path: disk, capacityBytes: BigInt(16 * mib), unitNumber: 0 });
    expect(attached?.uuid).toBe(await queryDiskUuid(destination, place.datacenter, disk));

    await expect(destroyVm(destination, vm, () => false)).rejects.toMatchObject({ code: 'FOREIGN_DISK_ATTACHED' });
    await detachDisks(destination, vm, [disk]);
    await detachDisks(destination, vm, [disk]);
    await destroyVm(destination, vm, () => false);
    await destroyVm(destination, vm, () => false);
    expect(await diskExists(destination, place.datacenter, disk)).toBe(true);

    const uuid = '6000c29a-0123-4567-89ab-cdef01234567';
    await setDiskUuid(destination, place.datacenter, disk, uuid);
    await moveDisk(destination, place.datacenter, disk, moved);
    await moveDisk(destination, place.datacenter, disk, moved);
    expect(await queryDiskUuid(destination, place.datacenter, moved)).toBe(uuid);
    await deleteDisk(destination, place.datacenter, moved);
    await deleteDisk(destination, place.datacenter, moved);
    await deleteFile(destination, place, '[datastore1] final-01');
  });

  it('passes on what a vCenter refuses as typed faults', async () => {
    const place = await placeOf(destination);
    const spec = shadowVm(place, 'shadow-02', 'vmm_test/refused');
    const files = { vmPathName: '[no-such-datastore]' };
    await expect(ensureVm(destination, { ...spec, config: { ...spec.config, files } })).rejects.toMatchObject({
      name: 'MigrationError',
      retry: 'permanent',
    });
    const vm = await ensureVm(destination, spec);
    const absent = {
      path: '[datastore1] nowhere/x.vmdk',
      capacityBytes: 1024n,
      controllerKey: 1000,
      unitNumber: 0,
    } as const;
    await expect(attachDisks(destination, vm, [{ ...absent, mode: 'persistent' }])).rejects.toMatchObject({
      name: 'MigrationError',
    });
    await destroyVm(destination, vm, () => false);
  });

  it('powers a guest on, sees its address and Tools, and shuts it down', async () => {
    const { ref } = await appVm(source);
    await powerOnVm(source, ref);
    await powerOnVm(source, ref);
    expect(await waitForAddress(source, ref, { timeoutMs: 90_000 })).toMatch(new RegExp(`^${vsphere.lab.net}`));
    await shutDownGuest(source, ref);
    await waitForPowerState(source, ref, 'poweredOff', { timeoutMs: 60_000 });
    await shutDownGuest(source, ref);
    await powerOffVm(source, ref);
    const waiting = waitForPowerState(source, ref, 'poweredOn', { timeoutMs: 200 });
    await expect(waiting).rejects.toMatchObject({ code: 'VSPHERE_TIMEOUT' });
  }, 180_000);
});

describe('policies, filters and host options', () => {
  it('keeps one policy by its name', async () => {
    const name = 'Network Migration test';
    const id = await ensurePolicy(source, name, 'for the test');
    expect(await ensurePolicy(source, name, 'for the test')).toBe(id);
    expect(await findPolicy(source, name)).toBe(id);
    const { ref, disks } = await appVm(source);
    expect(await policiesOfDisk(source, ref, disks[0]?.key ?? 0)).toEqual([]);
    await deletePolicy(source, id);
    await deletePolicy(source, id);
    expect(await findPolicy(source, name)).toBeUndefined();
  });

  it('reads filters of a cluster that has none', async () => {
    const { cluster } = await placeOf(destination);
    expect(await listFilters(destination, cluster.ref)).toEqual([]);
    expect(await filterIssues(destination, cluster.ref, 'no-such-filter')).toEqual([]);
  });

  it('sets and reads advanced options of a host', async () => {
    const host = (await placeOf(source)).cluster.hosts[0];
    if (!host) throw new Error('the cluster has no host');
    await setHostOptions(source, host, { 'Landfall.Test': 'value' });
    expect(await readHostOptions(source, host, 'Landfall.Test')).toEqual({ 'Landfall.Test': 'value' });
    expect(await readHostOptions(source, host, 'Nothing.Like.This')).toEqual({});
  });
});

describe('the IO filter on a running guest', () => {
  it('is installed on every host, routed in and out by policy, and removed', async () => {
    const { cluster } = await placeOf(source);
    const { ref, disks } = await appVm(source);
    const keys = disks.map(({ key }) => key);
    const site = await servePackage();
    try {
      await installFilter(source, cluster.ref, site.url, site.certificatePem);
      await installFilter(source, cluster.ref, site.url, site.certificatePem);
    } finally {
      site.close();
    }
    const [filter] = await listFilters(source, cluster.ref);
    expect(filter).toMatchObject({ operation: 'install' });
    expect(await filterIssues(source, cluster.ref, filter?.id ?? '')).toEqual([]);

    const policy = await ensurePolicy(source, 'Network Migration', 'for the test');
    await powerOnVm(source, ref);
    await setDiskPolicy(source, ref, keys, policy);
    await setDiskPolicy(source, ref, keys, policy);
    expect(await policiesOfDisk(source, ref, keys[0] ?? 0)).toEqual([policy]);
    expect(await disksWithPolicy(source, policy)).toEqual(keys.map((deviceKey) => ({ vm: ref, deviceKey })));
    expect((await appVm(source)).disks.every(({ filters }) => filters.length === 1)).toBe(true);
    await expect(deletePolicy(source, policy)).rejects.toMatchObject({ code: 'VSPHERE_BUSY' });

    await setDiskPolicy(source, ref, keys, undefined);
    await setDiskPolicy(source, ref, keys, undefined);
    expect(await disksWithPolicy(source, policy)).toEqual([]);
    expect((await appVm(source)).disks.every(({ filters }) => filters.length === 0)).toBe(true);
    await powerOffVm(source, ref);
    await deletePolicy(source, policy);
    await uninstallFilter(source, cluster.ref, filter?.id ?? '');
    await uninstallFilter(source, cluster.ref, filter?.id ?? '');
    expect(await listFilters(source, cluster.ref)).toEqual([]);
  }, 180_000);

  it('names the hosts that do not trust the package server', async () => {
    const { cluster } = await placeOf(source);
    const site = await servePackage();
    const other = await servePackage();
    try {
      const refused = installFilter(source, cluster.ref, site.url, other.certificatePem);
      await expect(refused).rejects.toMatchObject({ name: 'MigrationError' });
    } finally {
      site.close();
      other.close();
    }
    for (const { id } of await listFilters(source, cluster.ref)) await uninstallFilter(source, cluster.ref, id);
  });
});

/** Serves the built host package like the API does: over HTTPS with a certificate of its own. */
async function servePackage(): Promise<{ url: string; certificatePem: string; close: () => void }> {
  const signingAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(signingAlgorithm, true, ['sign', 'verify']);
  const extensions = [new SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])];
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=a',
    keys,
    signingAlgorithm,
    extensions,
  });
  const certificatePem = certificate.toString('pem');
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----`;
  const server = createServer({ key, cert: certificatePem }, (_, response) => {
    createReadStream('build/landfall-host.vib').pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `https://127.0.0.1:${port}/landfall-host.vib`, certificatePem, close: () => server.close() };
}

function* slices(content: Buffer): Generator<Buffer> {
  for (let at = 0; at < content.length; at += 64 * 1024) yield content.subarray(at, at + 64 * 1024);
}
