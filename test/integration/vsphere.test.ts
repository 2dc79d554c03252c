// The vSphere client against the lab's two vCenters, the second one across the WAN.
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findFreeNet, startLab, type Lab, type LabSite } from '../../demo/harness/lab-process.ts';
import { writerVm } from '../../demo/harness/scenario.ts';
import {
  attachDisks,
  connect,
  currentTime,
  deleteDisk,
  deleteFile,
  deletePolicy,
  destroyVm,
  detachDisks,
  diskExists,
  downloadFile,
  ensureDisk,
  ensureExtension,
  ensurePolicy,
  ensureVm,
  fileSize,
  filterIssues,
  findPolicy,
  findVmByInstanceUuid,
  listFilters,
  listObjects,
  listVms,
  makeFolder,
  makeUniqueFolder,
  managementAddress,
  markVm,
  missingPrivileges,
  moveDisk,
  policiesOfDisk,
  powerOffVm,
  powerOnVm,
  probe,
  queryDiskUuid,
  readFile,
  readHostOptions,
  readInventory,
  readObject,
  readObjects,
  readVm,
  removeExtension,
  runTask,
  searchFiles,
  setDiskUuid,
  setHostOptions,
  shutDownGuest,
  uploadFile,
  waitForAddress,
  waitForPowerState,
  type ClusterPlace,
  type DatacenterPlace,
  type DatastorePlace,
  type FilePlace,
  type Inventory,
  type NewVm,
  type VcenterLogin,
  type VmFacts,
  type VsphereSession,
} from '../../vsphere/index.ts';

const mib = 1024 * 1024;
let folder: string;
let lab: Lab;
let source: VsphereSession;
let destination: VsphereSession;

const loginOf = ({ address, user, password, thumbprintSha256 }: LabSite): VcenterLogin => ({
  address,
  user,
  password,
  thumbprintSha256,
});

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'landfall-vsphere-'));
  const vm = writerVm({ name: 'app-01', capacityMib: 64, seedMib: 1, writerPauseMs: 50, powerOn: false });
  const scenario = { wan: { bytesPerSecondMax: 0, rttMs: 5 }, vms: [vm] };
  lab = await startLab({ home: folder, net: await findFreeNet(40, 49), scenario });
  [source, destination] = await Promise.all([connect(loginOf(lab.source)), connect(loginOf(lab.destination))]);
}, 120_000);
afterAll(async () => {
  await Promise.all([source?.close(), destination?.close()]);
  await lab?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** The one place of each kind that the tests use. */
interface Place extends FilePlace {
  readonly inventory: Inventory;
  readonly datacenterPlace: DatacenterPlace;
  readonly cluster: ClusterPlace;
  readonly datastore: DatastorePlace;
}

async function placeOf(session: VsphereSession): Promise<Place> {
  const inventory = await readInventory(session);
  const [datacenterPlace] = inventory.datacenters;
  const [cluster] = inventory.clusters;
  const datastore = inventory.datastores.find(({ name }) => name === 'datastore1');
  if (!datacenterPlace || !cluster || !datastore) throw new Error('the lab lacks a place');
  const { ref: datacenter, inventoryPath: datacenterPath } = datacenterPlace;
  return { inventory, datacenterPlace, cluster, datastore, datacenter, datacenterPath };
}

describe('registering a site', () => {
  it('S1 shows thumbprint and identity before any login, and two vCenters are never the same', async () => {
    const [first, second] = await Promise.all([probe(lab.source.address), probe(lab.destination.address)]);
    expect(first.thumbprintSha256).toBe(lab.source.thumbprintSha256);
    expect(second.thumbprintSha256).toBe(lab.destination.thumbprintSha256);
    expect(first.instanceUuid).not.toBe(second.instanceUuid);
    expect(first.apiVersion).toMatch(/^\d+\.\d+/);
  });

  it('refuses a wrong password, a wrong thumbprint and an address where nobody answers', async () => {
    const login = loginOf(lab.source);
    const wrong = 'not-the-password';
    const refused: unknown = await connect({ ...login, password: wrong }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'VSPHERE_LOGIN_FAILED', retry: 'needs-operator' });
    expect(JSON.stringify(refused) + String(refused)).not.toContain(wrong);
    const { thumbprintSha256 } = lab.destination;
    await expect(connect({ ...login, thumbprintSha256 })).rejects.toMatchObject({
      code: 'VSPHERE_CERTIFICATE_MISMATCH',
    });
    await expect(probe(`${lab.net}.1.99:8443`)).rejects.toMatchObject({ code: 'VSPHERE_UNREACHABLE' });
  });

  it('reads clock, rights, and keeps one extension record', async () => {
    expect(Math.abs((await currentTime(source)).getTime() - Date.now())).toBeLessThan(60_000);
    expect(await missingPrivileges(source, [source.content.rootFolder], ['VirtualMachine.Interact.PowerOn'])).toEqual(
      [],
    );
    const description = { _type: 'Description', label: 'Landfall', summary: 'Landfall' } as const;
    const extension = { key: 'dev.landfall.test', version: '1.0.0', description, lastHeartbeatTime: new Date() };
    await ensureExtension(source, extension);
    await ensureExtension(source, { ...extension, version: '1.0.1' });
    const manager = source.manager('extensionManager');
    const found = await source.call(manager, 'FindExtension', { extensionKey: extension.key });
    expect(found?.version).toBe('1.0.1');
    await removeExtension(source, extension.key);
    await removeExtension(source, extension.key);
  });
});

describe('inventory', () => {
  it('knows datacenters, clusters, hosts, datastores and networks, and what belongs together', async () => {
    const { inventory, cluster, datacenterPlace, datastore } = await placeOf(destination);
    expect(datacenterPlace.name).toMatch(/^Destination/);
    expect(datacenterPlace.inventoryPath).toBe(`/${datacenterPlace.name}`);
    expect(cluster).toMatchObject({ datacenter: datacenterPlace.ref });
    expect(cluster.hosts).toHaveLength(2);
    expect(inventory.hosts.every((host) => host.connected && host.productVersion !== '')).toBe(true);
    expect(inventory.datastores.map(({ name }) => name).sort()).toEqual(['datastore1', 'datastore2']);
    expect(inventory.networks.map(({ name }) => name)).toEqual(expect.arrayContaining(['VM Network', 'Production']));
    expect(datastore.freeBytes).toBeGreaterThan(0n);
    const addresses = await Promise.all(cluster.hosts.map((host) => managementAddress(destination, host)));
    expect(addresses.sort()).toEqual([`${lab.net}.2.11`, `${lab.net}.2.12`]);
  });

  it('reads more objects than one page holds', async () => {
    const { datacenterPlace } = await placeOf(source);
    const names = Array.from({ length: 230 }, (_, i) => `page-${String(i).padStart(3, '0')}`);
    const folders = [];
    for (const name of names) {
      folders.push(await source.call(datacenterPlace.vmFolder, 'CreateFolder', { name }));
    }
    const read = await listObjects(source, 'Folder', ['name'], datacenterPlace.vmFolder);
    expect(
      read
        .map(({ values }) => values.name)
        .filter((name) => name?.startsWith('page-'))
        .sort(),
    ).toEqual(names);
    await runTask(source, folders[0] ?? datacenterPlace.vmFolder, 'Destroy_Task', {});
    const left = await readObjects(source, 'Folder', folders, ['name']);
    expect(left).toHaveLength(names.length - 1);
    for (const ref of folders.slice(1)) await runTask(source, ref, 'Destroy_Task', {});
  }, 120_000);

  it('gives facts of a VM, and names a VM that is gone', async () => {
    const vm = await appVm();
    expect(vm).toMatchObject({ powerState: 'poweredOff', template: false, hasSnapshot: false, cpus: 1, memoryMb: 128 });
    expect(vm.disks).toMatchObject([{ capacityBytes: BigInt(64 * mib), backing: 'flat', hasParent: false }]);
    expect(vm.disks[0]?.uuid).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(vm.nics).toMatchObject([{ networkName: 'VM Network' }]);
    expect(await findVmByInstanceUuid(source, vm.instanceUuid)).toEqual(vm.ref);
    const gone = readVm(source, { type: 'VirtualMachine', value: 'vm-99999' });
    await expect(gone).rejects.toMatchObject({ faultType: 'ManagedObjectNotFound', code: 'VSPHERE_NOT_FOUND' });
  });

  it('marks a VM by a custom attribute, any number of times', async () => {
    const { ref } = await appVm();
    await markVm(source, ref, 'Landfall', 'moved');
    await markVm(source, ref, 'Landfall', 'moved twice');
    const { values } = await readObject(source, ref, ['customValue']);
    expect(values.customValue).toMatchObject([{ value: 'moved twice' }]);
  });
});

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
    const { ref } = await appVm();
    await powerOnVm(source, ref);
    await powerOnVm(source, ref);
    expect(await waitForAddress(source, ref, { timeoutMs: 90_000 })).toMatch(new RegExp(`^${lab.net}`));
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
    const { ref, disks } = await appVm();
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

describe('an expired session', () => {
  it('is renewed under calls, followed tasks and transfers', async () => {
    const key = 'config.vmacore.soap.sessionTimeout';
    const setting = source.manager('setting');
    await source.call(setting, 'UpdateOptions', { changedValue: [{ _type: 'OptionValue', key, value: '1s' }] });
    const session = await connect(loginOf(lab.source));
    try {
      const place = await placeOf(session);
      const before = session.cookie();
      await sleep(2_500);
      await Promise.all([1, 2, 3].map(() => currentTime(session)));
      expect(session.cookie()).not.toBe(before);
      await sleep(2_500);
      await uploadFile(session, place, '[datastore1] renewed.txt', Buffer.from('renewed'), 7);
      expect(String(await readFile(session, place, '[datastore1] renewed.txt'))).toBe('renewed');
      await sleep(2_500);
      await deleteFile(session, place, '[datastore1] renewed.txt');
    } finally {
      await session.close();
      await source.call(setting, 'UpdateOptions', { changedValue: [{ _type: 'OptionValue', key, value: '30m' }] });
    }
  });
});

describe('a cut of the WAN', () => {
  it('delays what is followed and sent, and breaks nothing', async () => {
    const place = await placeOf(destination);
    const vm = await ensureVm(destination, shadowVm(place, 'shadow-03', 'vmm_test/cut'));
    const direct = await connect({ ...loginOf(lab.destination), address: `${lab.net}.2.1:8443` });
    try {
      const poweredOn = waitForPowerState(destination, vm, 'poweredOn', { timeoutMs: 60_000 });
      await lab.control.cutWan(null);
      await powerOnVm(direct, vm);
      await lab.control.restoreWan();
      await poweredOn;
      await currentTime(destination);
      await destroyVm(destination, vm, () => false);
    } finally {
      await direct.close();
    }
  }, 90_000);
});

async function appVm(): Promise<VmFacts> {
  const vm = (await listVms(source)).find(({ name }) => name === 'app-01');
  if (!vm) throw new Error('the lab lacks app-01');
  return vm;
}

function shadowVm(place: Place, name: string, owner: string): NewVm {
  const controller = {
    _type: 'ParaVirtualSCSIController',
    key: 1000,
    busNumber: 0,
    sharedBus: 'noSharing',
  } as const;
  const config = {
    name,
    guestId: 'otherGuest64',
    numCPUs: 1,
    memoryMB: 64n,
    files: { vmPathName: '[datastore1]' },
    deviceChange: [{ _type: 'VirtualDeviceConfigSpec' as const, operation: 'add' as const, device: controller }],
  };
  return { folder: place.datacenterPlace.vmFolder, pool: place.cluster.resourcePool, config, owner };
}

function* slices(content: Buffer): Generator<Buffer> {
  for (let at = 0; at < content.length; at += 64 * 1024) yield content.subarray(at, at + 64 * 1024);
}
