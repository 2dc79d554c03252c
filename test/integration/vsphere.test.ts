// The vSphere client against the lab's two vCenters: registration, inventory, sessions, and the WAN between them.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  connect,
  currentTime,
  deleteFile,
  destroyVm,
  ensureExtension,
  ensureVm,
  findVmByInstanceUuid,
  listObjects,
  managementAddress,
  markVm,
  missingPrivileges,
  powerOnVm,
  probe,
  readFile,
  readObject,
  readObjects,
  readVm,
  removeExtension,
  runTask,
  uploadFile,
  waitForPowerState,
  type VsphereSession,
} from '../../vsphere/index.ts';
import { appVm, loginOf, openVsphereLab, placeOf, shadowVm, type VsphereLab } from '../helpers/vsphere-lab.ts';

let vsphere: VsphereLab;
let source: VsphereSession;
let destination: VsphereSession;

beforeAll(async () => {
  vsphere = await openVsphereLab();
  ({ source, destination } = vsphere);
}, 120_000);
afterAll(() => vsphere?.close());

describe('registering a site', () => {
  it('S1 shows thumbprint and identity before any login, and two vCenters are never the same', async () => {
    const [first, second] = await Promise.all([
      probe(vsphere.lab.source.address),
      probe(vsphere.lab.destination.address),
    ]);
    expect(first.thumbprintSha256).toBe(vsphere.lab.source.thumbprintSha256);
    expect(second.thumbprintSha256).toBe(vsphere.lab.destination.thumbprintSha256);
    expect(first.instanceUuid).not.toBe(second.instanceUuid);
    expect(first.apiVersion).toMatch(/^\d+\.\d+/);
  });

  it('refuses a wrong password, a wrong thumbprint and an address where nobody answers', async () => {
    const login = loginOf(vsphere.lab.source);
    const wrong = 'not-the-password';
    const refused: unknown = await connect({ ...login, password: wrong }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'VSPHERE_LOGIN_FAILED', retry: 'needs-operator' });
    expect(JSON.stringify(refused) + String(refused)).not.toContain(wrong);
    const { thumbprintSha256 } = vsphere.lab.destination;
    await expect(connect({ ...login, thumbprintSha256 })).rejects.toMatchObject({
      code: 'VSPHERE_CERTIFICATE_MISMATCH',
    });
    await expect(probe(`${vsphere.lab.net}.1.99:8443`)).rejects.toMatchObject({ code: 'VSPHERE_UNREACHABLE' });
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
    expect(addresses.sort()).toEqual([`${vsphere.lab.net}.2.11`, `${vsphere.lab.net}.2.12`]);
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
    const vm = await appVm(source);
    expect(vm).toMatchObject({ powerState: 'poweredOff', template: false, hasSnapshot: false, cpus: 1, memoryMb: 128 });
    expect(vm.disks).toMatchObject([{ capacityBytes: 67_108_864n, backing: 'flat', hasParent: false }]);
    expect(vm.disks[0]?.uuid).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(vm.nics).toMatchObject([{ networkName: 'VM Network' }]);
    expect(await findVmByInstanceUuid(source, vm.instanceUuid)).toEqual(vm.ref);
    const gone = readVm(source, { type: 'VirtualMachine', value: 'vm-99999' });
    await expect(gone).rejects.toMatchObject({ faultType: 'ManagedObjectNotFound', code: 'VSPHERE_NOT_FOUND' });
  });

  it('marks a VM by a custom attribute, any number of times', async () => {
    const { ref } = await appVm(source);
    await markVm(source, ref, 'Landfall', 'moved');
    await markVm(source, ref, 'Landfall', 'moved twice');
    const { values } = await readObject(source, ref, ['customValue']);
    expect(values.customValue).toMatchObject([{ value: 'moved twice' }]);
  });
});

describe('an expired session', () => {
  it('is renewed under calls, followed tasks and transfers', async () => {
    const key = 'config.vmacore.soap.sessionTimeout';
    const setting = source.manager('setting');
    await source.call(setting, 'UpdateOptions', { changedValue: [{ _type: 'OptionValue', key, value: '1s' }] });
    const session = await connect(loginOf(vsphere.lab.source));
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
    const direct = await connect({ ...loginOf(vsphere.lab.destination), address: `${vsphere.lab.net}.2.1:8443` });
    try {
      const poweredOn = waitForPowerState(destination, vm, 'poweredOn', { timeoutMs: 60_000 });
      await vsphere.lab.control.cutWan(null);
      await powerOnVm(direct, vm);
      await vsphere.lab.control.restoreWan();
      await poweredOn;
      await currentTime(destination);
      await destroyVm(destination, vm, () => false);
    } finally {
      await direct.close();
    }
  }, 90_000);
});
