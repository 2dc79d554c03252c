import { describe, expect, it } from 'vitest';
import type { AnyVirtualDevice, VirtualMachineConfigInfo } from '../../vsphere/index.ts';
import { finalVmSpec } from './final-vm.ts';
import { shadowVmSpec } from './shadow-vm.ts';

const devices = [
  { _type: 'VirtualIDEController', key: 200, busNumber: 0 },
  { _type: 'ParaVirtualSCSIController', key: 1000, busNumber: 0, sharedBus: 'noSharing', device: [2000, 2001] },
  {
    _type: 'VirtualDisk',
    key: 2000,
    controllerKey: 1000,
    unitNumber: 0,
    capacityInKB: 1024n,
    backing: { _type: 'VirtualDiskFlatVer2BackingInfo', fileName: '[old] app/app.vmdk', diskMode: 'persistent' },
  },
  { _type: 'VirtualDisk', key: 2001, controllerKey: 1000, unitNumber: 1, capacityInKB: 1024n },
  {
    _type: 'VirtualCdrom',
    key: 3000,
    controllerKey: 200,
    unitNumber: 0,
    backing: { _type: 'VirtualCdromIsoBackingInfo', fileName: '[old] iso/install.iso' },
  },
  {
    _type: 'VirtualVmxnet3',
    key: 4000,
    macAddress: '00:50:56:01:02:03',
    addressType: 'assigned',
    backing: { _type: 'VirtualEthernetCardNetworkBackingInfo', deviceName: 'VM Network' },
  },
] as AnyVirtualDevice[];
const source = {
  name: 'app',
  uuid: 'bios-uuid',
  instanceUuid: 'instance-uuid',
  version: 'vmx-19',
  guestId: 'debian12_64Guest',
  annotation: 'owner: team a',
  firmware: 'efi',
  changeTrackingEnabled: true,
  hardware: { numCPU: 4, numCoresPerSocket: 2, memoryMB: 8192, device: devices },
  bootOptions: {
    bootOrder: [
      { _type: 'VirtualMachineBootOptionsBootableDiskDevice', deviceKey: 2000 },
      { _type: 'VirtualMachineBootOptionsBootableDiskDevice', deviceKey: 2001 },
    ],
  },
  extraConfig: [
    { _type: 'OptionValue', key: 'ethernet0.pciSlotNumber', value: '192' },
    { _type: 'OptionValue', key: 'scsi0:0.ctkEnabled', value: 'TRUE' },
    { _type: 'OptionValue', key: 'nvram', value: 'app.nvram' },
    { _type: 'OptionValue', key: 'custom.setting', value: 'kept' },
  ],
} as unknown as VirtualMachineConfigInfo;
const spec = finalVmSpec(source, {
  name: 'app_1',
  folder: '[new] app_1',
  disks: [{ deviceKey: 2000, path: '[new] app_1/app_1.vmdk', capacityBytes: 1048576n }],
  networkFor: ({ name }) => ({ name: `${name ?? ''} of the new site` }),
});
const added = (type: string) => (spec.deviceChange ?? []).map(({ device }) => device).filter((d) => d._type === type);

describe('finalVmSpec', () => {
  it('M7 keeps identity, hardware and firmware, under the new name and place', () => {
    expect(spec).toMatchObject({
      name: 'app_1',
      files: { vmPathName: '[new] app_1/app_1.vmx' },
      uuid: 'bios-uuid',
      instanceUuid: 'instance-uuid',
      version: 'vmx-19',
      numCPUs: 4,
      numCoresPerSocket: 2,
      memoryMB: 8192n,
      firmware: 'efi',
      annotation: 'owner: team a',
    });
  });

  it('M7 puts the replicated disk in its place and leaves out what was not replicated', () => {
    const [controller] = added('ParaVirtualSCSIController');
    const disks = added('VirtualDisk');
    expect(disks).toHaveLength(1);
    expect(disks[0]).toMatchObject({
      controllerKey: controller?.key,
      unitNumber: 0,
      backing: { fileName: '[new] app_1/app_1.vmdk', diskMode: 'persistent' },
    });
    expect(spec.deviceChange?.[0]?.device._type).toBe('ParaVirtualSCSIController');
    expect(spec.deviceChange?.every(({ fileOperation }) => fileOperation === undefined)).toBe(true);
  });

  it('M7 keeps the MAC address on the mapped network', () => {
    expect(added('VirtualVmxnet3')[0]).toMatchObject({
      macAddress: '00:50:56:01:02:03',
      addressType: 'manual',
      backing: { deviceName: 'VM Network of the new site' },
    });
  });

  it('names boot disks by their new keys and forgets those that stay behind', () => {
    const disk = added('VirtualDisk')[0];
    expect(spec.bootOptions?.bootOrder).toEqual([
      { _type: 'VirtualMachineBootOptionsBootableDiskDevice', deviceKey: disk?.key },
    ]);
  });

  it('takes settings along and leaves behind what belongs to the old place', () => {
    const keys = spec.extraConfig?.map(({ key }) => key);
    expect(keys).toEqual(['ethernet0.pciSlotNumber', 'custom.setting', 'uuid.action']);
    expect(spec.changeTrackingEnabled).toBeUndefined();
    expect(added('VirtualCdrom')[0]?.backing?._type).not.toBe('VirtualCdromIsoBackingInfo');
  });
});

describe('shadowVmSpec', () => {
  const shadow = (count: number) =>
    shadowVmSpec({
      name: 'landfall-shadow-1',
      folder: '[new] landfall-shadow-1',
      agentIsoPath: '[new] landfall/agent.iso',
      configurationIsoPath: '[new] landfall-shadow-1/configuration.iso',
      network: { name: 'VM Network' },
      disks: Array.from({ length: count }, (_, index) => ({ path: `[new] app/${index}.vmdk`, capacityBytes: 1024n })),
    }).deviceChange ?? [];

  it('L8 has room for 60 disks, none on a unit that a controller takes', () => {
    const disks = shadow(60).filter(({ device, fileOperation }) => device._type === 'VirtualDisk' && !fileOperation);
    const places = disks.map(({ device }) => `${device.controllerKey ?? ''}:${device.unitNumber ?? ''}`);
    expect(new Set(places).size).toBe(60);
    expect(places.filter((place) => place.endsWith(':7'))).toEqual([]);
    expect(shadow(60).filter(({ device }) => device._type === 'ParaVirtualSCSIController')).toHaveLength(4);
  });

  it('creates nothing but its own state disk', () => {
    const created = shadow(2).filter(({ fileOperation }) => fileOperation === 'create');
    expect(created.map(({ device }) => device.backing)).toMatchObject([
      { fileName: '[new] landfall-shadow-1/state.vmdk', thinProvisioned: true },
    ]);
  });
});
