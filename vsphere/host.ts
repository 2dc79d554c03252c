/**
 * What we need of an ESXi host through its vCenter: its management address and its advanced options.
 */
import { MigrationError } from '../core/index.ts';
import { isFault } from './faults.ts';
import { readObject } from './properties.ts';
import type { MoRef } from './schema.ts';
import type { VsphereSession } from './session.ts';

export type HostRef = MoRef<'HostSystem'>;

/** The address on which the host's own services listen. */
export async function managementAddress(session: VsphereSession, host: HostRef): Promise<string> {
  const { values } = await readObject(session, host, ['config.virtualNicManagerInfo', 'config.network']);
  const configs = values['config.virtualNicManagerInfo']?.netConfig ?? [];
  const management = configs.find(({ nicType }) => nicType === 'management');
  const candidates = management?.candidateVnic ?? [];
  const chosen = candidates.find(({ key }) => management?.selectedVnic?.includes(key)) ?? candidates[0];
  const fallback = values['config.network']?.vnic?.[0];
  const address = chosen?.spec.ip?.ipAddress ?? fallback?.spec.ip?.ipAddress;
  if (address) return address;
  throw new MigrationError('VSPHERE_INVALID_STATE', `Host ${host.value} has no management address`);
}

/** Sets advanced options; repeating sets them again. Values are strings or numbers, never logged. */
export async function setHostOptions(
  session: VsphereSession,
  host: HostRef,
  values: Readonly<Record<string, string | number>>,
): Promise<void> {
  const changedValue = Object.entries(values).map(([key, value]) => ({ _type: 'OptionValue' as const, key, value }));
  await session.call(await optionManager(session, host), 'UpdateOptions', { changedValue });
}

/** Advanced options whose key begins with the prefix; empty when there are none. */
export async function readHostOptions(
  session: VsphereSession,
  host: HostRef,
  prefix: string,
): Promise<Record<string, unknown>> {
  try {
    const options = await session.call(await optionManager(session, host), 'QueryOptions', { name: prefix });
    return Object.fromEntries((options ?? []).map(({ key, value }) => [key, value]));
  } catch (error) {
    if (isFault(error, 'InvalidName')) return {};
    throw error;
  }
}

async function optionManager(session: VsphereSession, host: HostRef): Promise<MoRef<'OptionManager'>> {
  const { values } = await readObject(session, host, ['configManager.advancedOption']);
  const manager = values['configManager.advancedOption'];
  if (manager) return manager;
  throw new MigrationError('VSPHERE_INVALID_STATE', `Host ${host.value} has no advanced options`);
}
