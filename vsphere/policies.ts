/**
 * Storage policies: the one that routes a disk's writes through our filter, and which disks carry it. Every function
 * may be repeated. It must not know what the filter does.
 */
import { isFault, VsphereFault } from './faults.ts';
import { readObject } from './properties.ts';
import type { VsphereSession } from './session.ts';
import type { TaskOptions } from './tasks.ts';
import type { AnyPbmProfile, PbmProfileId } from './types.gen.ts';
import { reconfigureVm, type VmRef } from './virtual-machines.ts';

/** What a policy asks for: a capability that an IO filter offers. */
export interface PolicyCapability {
  readonly namespace: string;
  readonly id: string;
}

/** The capability of our filter. */
export const replicationCapability: PolicyCapability = { namespace: 'landfall', id: 'replication' };

const storageResource = { resourceType: 'STORAGE' } as const;

/** The id of the policy of this name, or undefined. */
export async function findPolicy(session: VsphereSession, name: string): Promise<string | undefined> {
  const profileIds = await listPolicies(session);
  if (profileIds.length === 0) return undefined;
  const { profileManager } = await session.policyContent();
  const profiles: AnyPbmProfile[] = await session.call(profileManager, 'PbmRetrieveContent', { profileIds });
  return profiles.find((profile) => profile.name === name)?.profileId.uniqueId;
}

/** Makes the policy, or finds it by its name; gives its id. */
export async function ensurePolicy(
  session: VsphereSession,
  name: string,
  description: string,
  capability: PolicyCapability = replicationCapability,
): Promise<string> {
  const existing = await findPolicy(session, name);
  if (existing !== undefined) return existing;
  const { profileManager } = await session.policyContent();
  try {
    const created = await session.call(profileManager, 'PbmCreate', {
      createSpec: {
        name,
        description,
        category: 'REQUIREMENT',
        resourceType: storageResource,
        constraints: {
          _type: 'PbmCapabilitySubProfileConstraints',
          subProfiles: [
            {
              name: capability.id,
              capability: [
                {
                  id: { ...capability },
                  constraint: [{ propertyInstance: [{ id: capability.id, value: true }] }],
                },
              ],
            },
          ],
        },
      },
    });
    return created.uniqueId;
  } catch (error) {
    const made = isFault(error, 'PbmDuplicateName') ? await findPolicy(session, name) : undefined;
    if (made !== undefined) return made;
    throw error;
  }
}

/** Deletes a policy; nothing to do when it is gone. Fails with VSPHERE_BUSY while something uses it. */
export async function deletePolicy(session: VsphereSession, policyId: string): Promise<void> {
  const profileId = (await listPolicies(session)).filter(({ uniqueId }) => uniqueId === policyId);
  if (profileId.length === 0) return;
  const { profileManager } = await session.policyContent();
  const outcomes = await session.call(profileManager, 'PbmDelete', { profileId });
  const refusal = outcomes?.find(({ fault }) => fault !== undefined)?.fault;
  if (!refusal) return;
  const fault: Error = new VsphereFault('PbmDelete', { ...refusal.fault }, refusal.localizedMessage ?? '');
  if (!isFault(fault, 'PbmFaultNotFound')) throw fault;
}

/** Ids of the policies that a disk of a VM carries. */
export async function policiesOfDisk(session: VsphereSession, vm: VmRef, deviceKey: number): Promise<string[]> {
  const { profileManager } = await session.policyContent();
  const entity = { objectType: 'virtualDiskId', key: `${vm.value}:${deviceKey}` };
  const ids = await session.call(profileManager, 'PbmQueryAssociatedProfile', { entity });
  return (ids ?? []).map(({ uniqueId }) => uniqueId);
}

/** Disks that carry a policy. */
export async function disksWithPolicy(
  session: VsphereSession,
  policyId: string,
): Promise<{ vm: VmRef; deviceKey: number }[]> {
  const { profileManager } = await session.policyContent();
  const profile = { uniqueId: policyId };
  const entities = await session.call(profileManager, 'PbmQueryAssociatedEntity', { profile });
  return (entities ?? []).flatMap(({ objectType, key }) => {
    const [vm, deviceKey] = key.split(':');
    if (objectType !== 'virtualDiskId' || vm === undefined || deviceKey === undefined) return [];
    return [{ vm: { type: 'VirtualMachine' as const, value: vm }, deviceKey: Number(deviceKey) }];
  });
}

/**
 * Gives these disks a policy, or with `undefined` takes theirs away, in one reconfiguration; disks that have it
 * already are left alone. On a running VM this inserts or removes the filter without stopping the guest.
 */
export async function setDiskPolicy(
  session: VsphereSession,
  vm: VmRef,
  deviceKeys: readonly number[],
  policyId: string | undefined,
  options?: TaskOptions,
): Promise<void> {
  const profile =
    policyId === undefined
      ? ({ _type: 'VirtualMachineEmptyProfileSpec' } as const)
      : ({ _type: 'VirtualMachineDefinedProfileSpec', profileId: policyId } as const);
  const present = await Promise.all(deviceKeys.map((key) => policiesOfDisk(session, vm, key)));
  const changing = deviceKeys.filter((_, index) =>
    policyId === undefined ? (present[index] ?? []).length > 0 : !present[index]?.includes(policyId),
  );
  if (changing.length === 0) return;
  const { values } = await readObject(session, vm, ['config.hardware.device']);
  const devices = (values['config.hardware.device'] ?? []).filter(({ key }) => changing.includes(key));
  const deviceChange = devices.map((device) => ({
    _type: 'VirtualDeviceConfigSpec' as const,
    operation: 'edit' as const,
    device,
    profile: [profile],
  }));
  await reconfigureVm(session, vm, { deviceChange }, options);
}

async function listPolicies(session: VsphereSession): Promise<PbmProfileId[]> {
  const { profileManager } = await session.policyContent();
  const query = { resourceType: storageResource, profileCategory: 'REQUIREMENT' };
  return (await session.call(profileManager, 'PbmQueryProfile', query)) ?? [];
}
