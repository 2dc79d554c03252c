// Device lists as servers send them, in our words.
import { describe, expect, it } from 'vitest';
import { datastorePath, fileNameOf, folderOf, parseDatastorePath } from './paths.ts';
import type { AnyVirtualDevice } from './types.gen.ts';
import { disksOf, isInFolder, nicsOf, normalUuid } from './vm-devices.ts';

const controller: AnyVirtualDevice = {
  _type: 'ParaVirtualSCSIController',
  key: 1000,
  busNumber: 1,
  sharedBus: 'noSharing',
};
const disk = (fields: object, backing: object): AnyVirtualDevice[] => [
  controller,
  {
    _type: 'VirtualDisk',
    key: 2000,
    controllerKey: 1000,
    unitNumber: 3,
    capacityInKB: 2048n,
    backing: { _type: 'VirtualDiskFlatVer2BackingInfo', fileName: '[ds] a/a.vmdk', diskMode: 'persistent', ...backing },
    ...fields,
  },
];

describe('disks', () => {
  it('are known by backing UUID, place and size', () => {
    expect(disksOf(disk({}, { uuid: '6000C29A-1111-2222-3333-444455556666', thinProvisioned: true }))).toEqual([
      expect.objectContaining({
        uuid: '6000c29a-1111-2222-3333-444455556666',
        capacityBytes: 2097152n,
        controllerType: 'ParaVirtualSCSIController',
        controllerBusNumber: 1,
        unitNumber: 3,
        thin: true,
        backing: 'flat',
        shared: false,
        hasParent: false,
        filters: [],
      }),
    ]);
  });

  it.each([
    ['a multi-writer disk', disk({}, { sharing: 'sharingMultiWriter' }), { shared: true }],
    ['a shared bus', [{ ...controller, sharedBus: 'physicalSharing' }, ...disk({}, {}).slice(1)], { shared: true }],
    ['a delta by its name', disk({}, { fileName: '[ds] a/a-000002.vmdk' }), { hasParent: true }],
    ['a delta by its parent', disk({}, { parent: {} }), { hasParent: true }],
    [
      'a physical raw mapping',
      disk({}, { _type: 'VirtualDiskRawDiskMappingVer1BackingInfo', compatibilityMode: 'physicalMode' }),
      { backing: 'rdm-physical' },
    ],
    [
      'a virtual raw mapping',
      disk({}, { _type: 'VirtualDiskRawDiskMappingVer1BackingInfo', compatibilityMode: 'virtualMode' }),
      { backing: 'rdm-virtual' },
    ],
  ])('show %s', (_, devices, expected) => {
    expect(disksOf(devices as AnyVirtualDevice[])[0]).toMatchObject(expected);
  });
});

it('shows network cards of standard and distributed switches', () => {
  const card = {
    _type: 'VirtualVmxnet3',
    key: 4000,
    macAddress: '00:50:56:AA:00:01',
    addressType: 'assigned',
  } as const;
  const standard = {
    _type: 'VirtualEthernetCardNetworkBackingInfo',
    deviceName: 'VM Network',
    network: { type: 'Network', value: 'network-1' },
  } as const;
  const distributed = {
    _type: 'VirtualEthernetCardDistributedVirtualPortBackingInfo',
    port: { switchUuid: 's', portgroupKey: 'pg-1' },
  } as const;
  expect(nicsOf([{ ...card, backing: standard }, { ...card, backing: distributed }, controller])).toMatchObject([
    { networkName: 'VM Network', macAddress: '00:50:56:aa:00:01', portgroupKey: undefined },
    { networkName: undefined, portgroupKey: 'pg-1' },
  ]);
});

it.each([
  ['6000C29a-bc12-d034-5678-90abcdef0123', '6000c29a-bc12-d034-5678-90abcdef0123'],
  ['60 00 C2 9a bc 12 d0 34-56 78 90 ab cd ef 01 23', '6000c29a-bc12-d034-5678-90abcdef0123'],
  ['', ''],
])('writes the UUID %j one way', (text, expected) => {
  expect(normalUuid(text)).toBe(expected);
});

describe('datastore paths', () => {
  it('come apart and together', () => {
    expect(parseDatastorePath('[ds 1] a/b c.vmdk')).toEqual({ datastore: 'ds 1', path: 'a/b c.vmdk' });
    expect(datastorePath('ds 1', 'a', 'b c.vmdk')).toBe('[ds 1] a/b c.vmdk');
    expect(datastorePath('ds')).toBe('[ds]');
    expect(folderOf('[ds] a/b/c.vmdk')).toBe('[ds] a/b');
    expect(fileNameOf('[ds] a/b/c.vmdk')).toBe('c.vmdk');
    expect(() => parseDatastorePath('a/b')).toThrow(/not a datastore path/);
  });

  it('tell what lies in a folder', () => {
    expect(isInFolder('[ds] app/d.vmdk', '[ds] app')).toBe(true);
    expect(isInFolder('[ds] app-2/d.vmdk', '[ds] app')).toBe(false);
    expect(isInFolder('[other] app/d.vmdk', '[ds] app')).toBe(false);
  });
});
