/** Small builders for device changes of a VM's specification. Pure; they know no server. */
import type { AnyVirtualDevice, AnyVirtualDeviceConfigSpec, AnyVirtualDeviceBackingInfo } from '../../vsphere/index.ts';

/** A network as a place to plug a card in: a standard network by name, or a port group of a distributed switch. */
export interface NetworkPlug {
  readonly name: string;
  readonly portgroupKey?: string | undefined;
  readonly switchUuid?: string | undefined;
}

export function addDevice(device: AnyVirtualDevice, options: { create?: boolean } = {}): AnyVirtualDeviceConfigSpec {
  return {
    _type: 'VirtualDeviceConfigSpec',
    operation: 'add',
    ...(options.create === true ? { fileOperation: 'create' as const } : {}),
    device,
  };
}

export function networkBacking(plug: NetworkPlug): AnyVirtualDeviceBackingInfo {
  if (plug.portgroupKey === undefined || plug.switchUuid === undefined) {
    return { _type: 'VirtualEthernetCardNetworkBackingInfo', deviceName: plug.name };
  }
  return {
    _type: 'VirtualEthernetCardDistributedVirtualPortBackingInfo',
    port: { switchUuid: plug.switchUuid, portgroupKey: plug.portgroupKey },
  };
}
