// Looks into one vCenter for things that only Landfall makes: shadow VMs, disks under our storage policy, our snapshots.
// Knows the marks of what is ours and nothing of what is needed.
import { disksWithPolicy, listVms, type VsphereSession } from '../../vsphere/index.ts';

export interface Trace {
  readonly kind: 'vm' | 'policy';
  readonly name: string;
  readonly vmMoref: string | null;
  readonly message: string;
  readonly remedy: string;
}

/** How the name of every shadow VM begins. */
const shadowVmPrefix = 'landfall-shadow-';

export async function lookForTraces(session: VsphereSession, policyIds: readonly string[]): Promise<Trace[]> {
  const vms = await listVms(session);
  const shadows = vms
    .filter((vm) => vm.name.startsWith(shadowVmPrefix))
    .map((vm): Trace => ({
      kind: 'vm',
      name: vm.name,
      vmMoref: vm.ref.value,
      message: `The shadow VM ${vm.name} is still there.`,
      remedy: 'Detach every disk that is to be kept, then delete it in the vSphere Client.',
    }));
  const names = new Map(vms.map((vm) => [vm.ref.value, vm.name]));
  const carriers = await Promise.all(policyIds.map((policyId) => disksWithPolicy(session, policyId)));
  const attached = carriers.flat().map(({ vm, deviceKey }): Trace => ({
    kind: 'policy',
    name: `${names.get(vm.value) ?? vm.value} disk ${deviceKey}`,
    vmMoref: vm.value,
    message: `Disk ${deviceKey} of ${names.get(vm.value) ?? vm.value} still carries the replication policy.`,
    remedy: 'Give the disk its former storage policy in the vSphere Client.',
  }));
  return [...shadows, ...attached];
}
