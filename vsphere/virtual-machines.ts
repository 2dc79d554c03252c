/**
 * The life of a virtual machine: made, reconfigured, powered, found ready, destroyed. Every function may be
 * repeated. It must not decide what a machine looks like; callers bring the specification.
 */
import { MigrationError } from '../core/index.ts';
import { isFault } from './faults.ts';
import { readObject } from './properties.ts';
import type { MoRef } from './schema.ts';
import type { VsphereSession } from './session.ts';
import { runTask, type TaskOptions } from './tasks.ts';
import type { AnyOptionValue, VirtualMachineConfigSpec, VirtualMachinePowerState } from './types.gen.ts';
import { disksOf } from './vm-devices.ts';

export type VmRef = MoRef<'VirtualMachine'>;

/** extraConfig key under which a VM that we made carries what it was made for. */
export const ownerKey = 'landfall.owner';

export interface NewVm {
  readonly folder: MoRef<'Folder'>;
  readonly pool: MoRef<'ResourcePool'>;
  readonly host?: MoRef<'HostSystem'> | undefined;
  /** `name` is required; `files.vmPathName` says where it lies. */
  readonly config: VirtualMachineConfigSpec & { name: string };
  /** What the VM is for, for example a migration's id with a role: makes the call repeatable. */
  readonly owner: string;
}

/**
 * Makes a VM, or finds the one that an earlier call made for the same owner in the same folder. A VM of that name
 * that is not ours fails with VSPHERE_INVALID_ARGUMENT. A failed creation leaves no VM.
 */
export async function ensureVm(session: VsphereSession, vm: NewVm, options?: TaskOptions): Promise<VmRef> {
  const existing = await findOwnedVm(session, vm.folder, vm.config.name, vm.owner);
  if (existing) return existing;
  const mark = { _type: 'OptionValue', key: ownerKey, value: vm.owner } as const;
  const config = { ...vm.config, extraConfig: [...(vm.config.extraConfig ?? []), mark] };
  try {
    const args = { config, pool: vm.pool, host: vm.host };
    return (await runTask(session, vm.folder, 'CreateVM_Task', args, options)) as VmRef;
  } catch (error) {
    // The creation of an earlier, interrupted call may have ended between our look and our call.
    const made = isFault(error, 'DuplicateName', 'AlreadyExists')
      ? await findOwnedVm(session, vm.folder, vm.config.name, vm.owner)
      : undefined;
    if (made) return made;
    throw error;
  }
}

/**
 * The VM of this name in the folder if it carries the owner's mark. Fails with VSPHERE_INVALID_ARGUMENT if it carries
 * another one or none, and with VSPHERE_BUSY while it is being made.
 */
export async function findOwnedVm(
  session: VsphereSession,
  folder: MoRef<'Folder'>,
  name: string,
  owner: string,
): Promise<VmRef | undefined> {
  const found = await session.call(session.manager('searchIndex'), 'FindChild', { entity: folder, name });
  if (found?.type !== 'VirtualMachine') return undefined;
  const ref = found as VmRef;
  const { values } = await readObject(session, ref, ['config.changeVersion', 'config.extraConfig']);
  if (values['config.changeVersion'] === undefined) {
    throw new MigrationError('VSPHERE_BUSY', `The VM "${name}" is being made`);
  }
  if (ownerIn(values['config.extraConfig']) === owner) return ref;
  throw new MigrationError('VSPHERE_INVALID_ARGUMENT', `A VM named "${name}" exists already`, {
    remedy: 'Rename or remove that VM, or choose another folder.',
  });
}

function ownerIn(extraConfig: readonly AnyOptionValue[] | undefined): string | undefined {
  const value = extraConfig?.find(({ key }) => key === ownerKey)?.value;
  return typeof value === 'string' ? value : undefined;
}

/** Applies a change. Repeating applies it again: callers look first, unless the change names its result. */
export async function reconfigureVm(
  session: VsphereSession,
  vm: VmRef,
  spec: VirtualMachineConfigSpec,
  options?: TaskOptions,
): Promise<void> {
  await runTask(session, vm, 'ReconfigVM_Task', { spec }, options);
}

/** Powers on; nothing to do when it is on. A fault of the IO filter (a sealed disk) comes through as it is. */
export async function powerOnVm(session: VsphereSession, vm: VmRef, options?: TaskOptions): Promise<void> {
  if ((await readPowerState(session, vm)) === 'poweredOn') return;
  await ignoringState(session, vm, 'poweredOn', () => runTask(session, vm, 'PowerOnVM_Task', {}, options));
}

/** Pulls the plug; nothing to do when it is off. */
export async function powerOffVm(session: VsphereSession, vm: VmRef, options?: TaskOptions): Promise<void> {
  if ((await readPowerState(session, vm)) === 'poweredOff') return;
  await ignoringState(session, vm, 'poweredOff', () => runTask(session, vm, 'PowerOffVM_Task', {}, options));
}

/** Asks the guest to shut down and returns at once; nothing to do when it is off. Needs running VMware Tools. */
export async function shutDownGuest(session: VsphereSession, vm: VmRef): Promise<void> {
  if ((await readPowerState(session, vm)) === 'poweredOff') return;
  await ignoringState(session, vm, 'poweredOff', () => session.call(vm, 'ShutdownGuest', {}));
}

export async function readPowerState(session: VsphereSession, vm: VmRef): Promise<VirtualMachinePowerState> {
  const { values } = await readObject(session, vm, ['runtime.powerState']);
  return values['runtime.powerState'] ?? 'poweredOff';
}

export interface VmWaitOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** Waits until the server itself reports the state. */
export async function waitForPowerState(
  session: VsphereSession,
  vm: VmRef,
  state: VirtualMachinePowerState,
  options: VmWaitOptions,
): Promise<void> {
  const reached = ({ 'runtime.powerState': now }: { 'runtime.powerState'?: string }) =>
    now === state ? true : undefined;
  await session.watcher.watch(vm, ['runtime.powerState'], reached, {
    what: `VM ${vm.value} to be ${state}`,
    ...options,
  });
}

/** Waits until the guest reports an IPv4 address and gives it. */
export async function waitForAddress(session: VsphereSession, vm: VmRef, options: VmWaitOptions): Promise<string> {
  return session.watcher.watch(
    vm,
    ['guest.ipAddress', 'runtime.powerState'],
    (values) => {
      const address = values['guest.ipAddress'];
      return values['runtime.powerState'] === 'poweredOn' && address?.includes('.') ? address : undefined;
    },
    { what: `an address of VM ${vm.value}`, ...options },
  );
}

/** Waits until VMware Tools run in the guest. */
export async function waitForTools(session: VsphereSession, vm: VmRef, options: VmWaitOptions): Promise<void> {
  await session.watcher.watch(
    vm,
    ['guest.toolsRunningStatus'],
    (values) => (values['guest.toolsRunningStatus'] === 'guestToolsRunning' ? true : undefined),
    { what: `VMware Tools in VM ${vm.value}`, ...options },
  );
}

/**
 * Destroys a VM with its files, and with the files of every disk on it: so it first looks at them and refuses with
 * FOREIGN_DISK_ATTACHED when one is not accepted by `mayDelete`. Nothing to do when the VM is gone. Powers it off.
 */
export async function destroyVm(
  session: VsphereSession,
  vm: VmRef,
  mayDelete: (diskPath: string) => boolean,
  options?: TaskOptions,
): Promise<void> {
  try {
    const { values } = await readObject(session, vm, ['config.hardware.device']);
    const foreign = disksOf(values['config.hardware.device'] ?? []).find(({ path }) => !mayDelete(path));
    if (foreign) {
      throw new MigrationError('FOREIGN_DISK_ATTACHED', `VM ${vm.value} still has the disk ${foreign.path}`);
    }
    await powerOffVm(session, vm, options);
    await runTask(session, vm, 'Destroy_Task', {}, options);
  } catch (error) {
    if (!isFault(error, 'ManagedObjectNotFound')) throw error;
  }
}

/** Two callers may race for the same state; the loser's fault is fine when the state is reached. */
async function ignoringState(
  session: VsphereSession,
  vm: VmRef,
  wanted: VirtualMachinePowerState,
  act: () => Promise<unknown>,
): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!isFault(error, 'InvalidPowerState') || (await readPowerState(session, vm)) !== wanted) throw error;
  }
}
