/**
 * What Landfall has to know of a virtual machine, in our words: identity, state, disks, network cards, and
 * everything that may forbid a migration. Reads only; it must not judge (that is eligibility's).
 */
import { MigrationError } from '../core/index.ts';
import { listObjects, readObject, type ObjectRead } from './properties.ts';
import type { MoRef } from './schema.ts';
import type { VsphereSession } from './session.ts';
import type { AnyVirtualDevice, VirtualMachineConfigInfo, VirtualMachinePowerState } from './types.gen.ts';
import { disksOf, nicsOf, type VmDisk, type VmNic } from './vm-devices.ts';

export interface VmFacts {
  readonly ref: MoRef<'VirtualMachine'>;
  readonly name: string;
  /** `config.instanceUuid`: with the vCenter, the VM's identity. */
  readonly instanceUuid: string;
  readonly biosUuid: string;
  readonly powerState: VirtualMachinePowerState;
  /** `connected` unless host or files are out of reach. */
  readonly connectionState: string;
  readonly template: boolean;
  readonly guestId: string;
  readonly guestFullName: string;
  /** Hardware version, for example `vmx-19`. */
  readonly hardwareVersion: string;
  readonly cpus: number;
  readonly memoryMb: number;
  /** `bios` or `efi`. */
  readonly firmware: string;
  readonly host: MoRef<'HostSystem'> | undefined;
  readonly folder: MoRef | undefined;
  /** `[datastore] folder/name.vmx` */
  readonly vmxPath: string;
  readonly guest: {
    readonly toolsRunning: boolean;
    readonly ipAddress: string | undefined;
    readonly hostName: string | undefined;
  };
  readonly hasSnapshot: boolean;
  readonly consolidationNeeded: boolean;
  readonly faultTolerant: boolean;
  readonly encrypted: boolean;
  readonly hasVtpm: boolean;
  readonly hasNvme: boolean;
  /** Labels of devices that tie the VM to its host: PCI pass-through, SR-IOV, USB. */
  readonly passthroughDevices: readonly string[];
  readonly disks: readonly VmDisk[];
  readonly nics: readonly VmNic[];
}

const factPaths = [
  'name',
  'parent',
  'config',
  'runtime',
  'snapshot',
  'guest.toolsRunningStatus',
  'guest.ipAddress',
  'guest.hostName',
] as const;

type FactRead = ObjectRead<'VirtualMachine', (typeof factPaths)[number]>;

/** Facts of one VM. Fails with ManagedObjectNotFound when it is gone. */
export async function readVm(session: VsphereSession, ref: MoRef<'VirtualMachine'>): Promise<VmFacts> {
  return toFacts(await readObject(session, ref, factPaths));
}

/** Facts of all VMs below `root` (a cluster, folder or datacenter; by default everything). Skips half-made ones. */
export async function listVms(session: VsphereSession, root?: MoRef): Promise<VmFacts[]> {
  const reads = await listObjects(session, 'VirtualMachine', factPaths, root);
  return reads.filter(({ values }) => values.config !== undefined).map(toFacts);
}

/** The full configuration, for building a final VM from it. */
export async function readVmConfig(
  session: VsphereSession,
  ref: MoRef<'VirtualMachine'>,
): Promise<VirtualMachineConfigInfo> {
  const { values } = await readObject(session, ref, ['config']);
  return requireConfig(values.config, ref);
}

/** Finds a VM by `config.instanceUuid`. */
export async function findVmByInstanceUuid(
  session: VsphereSession,
  instanceUuid: string,
): Promise<MoRef<'VirtualMachine'> | undefined> {
  const args = { uuid: instanceUuid, vmSearch: true, instanceUuid: true };
  return (await session.call(session.manager('searchIndex'), 'FindByUuid', args)) as
    MoRef<'VirtualMachine'> | undefined;
}

function toFacts({ ref, values }: FactRead): VmFacts {
  const config = requireConfig(values.config, ref);
  const devices = config.hardware.device ?? [];
  return {
    ref,
    name: values.name ?? config.name,
    instanceUuid: config.instanceUuid ?? '',
    biosUuid: config.uuid,
    powerState: values.runtime?.powerState ?? 'poweredOff',
    connectionState: values.runtime?.connectionState ?? 'disconnected',
    template: config.template,
    guestId: config.guestId,
    guestFullName: config.guestFullName,
    hardwareVersion: config.version,
    cpus: config.hardware.numCPU,
    memoryMb: config.hardware.memoryMB,
    firmware: config.firmware ?? 'bios',
    host: values.runtime?.host,
    folder: values.parent,
    vmxPath: config.files.vmPathName ?? '',
    guest: {
      toolsRunning: values['guest.toolsRunningStatus'] === 'guestToolsRunning',
      ipAddress: values['guest.ipAddress'],
      hostName: values['guest.hostName'],
    },
    hasSnapshot: values.snapshot !== undefined,
    consolidationNeeded: values.runtime?.consolidationNeeded === true,
    faultTolerant: !['', 'notConfigured'].includes(values.runtime?.faultToleranceState ?? ''),
    encrypted: config.keyId !== undefined,
    hasVtpm: devices.some((device) => device._type === 'VirtualTPM'),
    hasNvme: devices.some((device) => device._type === 'VirtualNVMEController'),
    passthroughDevices: devices.filter(isPassthrough).map((device) => device.deviceInfo?.label ?? device._type),
    disks: disksOf(devices),
    nics: nicsOf(devices),
  };
}

function requireConfig(config: VirtualMachineConfigInfo | undefined, ref: MoRef): VirtualMachineConfigInfo {
  if (config) return config;
  throw new MigrationError('VSPHERE_INVALID_STATE', `The configuration of VM ${ref.value} cannot be read`);
}

const passthroughTypes = new Set([
  'VirtualPCIPassthrough',
  'VirtualSriovEthernetCard',
  'VirtualUSB',
  'VirtualSCSIPassthrough',
]);

function isPassthrough(device: AnyVirtualDevice): boolean {
  return passthroughTypes.has(device._type);
}
