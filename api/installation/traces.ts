// Looks into one vCenter for things that only Landfall makes: shadow VMs, their folders, disks under our storage policy.
// Knows the marks of what is ours and nothing of what is needed.
import {
  disksWithPolicy,
  listObjects,
  listVms,
  searchNames,
  type VmFacts,
  type VsphereSession,
} from '../../vsphere/index.ts';

export interface Trace {
  readonly kind: 'vm' | 'file' | 'policy';
  readonly name: string;
  readonly vmMoref: string | null;
  readonly message: string;
  readonly remedy: string;
}

/** How the name of every shadow VM, and of its folder, begins. */
const shadowVmPrefix = 'landfall-shadow-';

/** The name that the activities give to the shadow VM of a VM’s migration. */
export function shadowVmName(vmMigrationId: string): string {
  return shadowVmPrefix + vmMigrationId.slice(-12);
}

export async function lookForTraces(session: VsphereSession, policyIds: readonly string[]): Promise<Trace[]> {
  const vms = await listVms(session);
  const shadows = vms.filter((vm) => vm.name.startsWith(shadowVmPrefix));
  const folders = (await shadowFolders(session)).filter((folder) => !shadows.some((vm) => vm.name === folder.name));
  return [...shadows.map(toTrace), ...folders, ...(await carriers(session, vms, policyIds))];
}

function toTrace(vm: VmFacts): Trace {
  return {
    kind: 'vm',
    name: vm.name,
    vmMoref: vm.ref.value,
    message: `The shadow VM ${vm.name} is still there.`,
    remedy: 'Detach every disk that is to be kept, then delete it in the vSphere Client.',
  };
}

async function shadowFolders(session: VsphereSession): Promise<Trace[]> {
  const datastores = await listObjects(session, 'Datastore', ['name', 'browser', 'summary.accessible']);
  const perDatastore = await Promise.all(
    datastores.map(async ({ values: { name = '', browser, 'summary.accessible': accessible } }) => {
      if (browser === undefined || accessible !== true) return [];
      const names = await searchNames(session, browser, `[${name}]`, `${shadowVmPrefix}*`);
      return names.map((folder): Trace => ({
        kind: 'file',
        name: folder,
        vmMoref: null,
        message: `The folder [${name}] ${folder} of a shadow VM is still there.`,
        remedy: 'Delete it in the datastore browser.',
      }));
    }),
  );
  return perDatastore.flat();
}

async function carriers(
  session: VsphereSession,
  vms: readonly VmFacts[],
  policyIds: readonly string[],
): Promise<Trace[]> {
  const names = new Map(vms.map((vm) => [vm.ref.value, vm.name]));
  const disks = await Promise.all(policyIds.map((policyId) => disksWithPolicy(session, policyId)));
  return disks.flat().map(({ vm, deviceKey }) => {
    const owner = names.get(vm.value) ?? vm.value;
    return {
      kind: 'policy',
      name: `${owner} disk ${deviceKey}`,
      vmMoref: vm.value,
      message: `Disk ${deviceKey} of ${owner} still carries the replication policy.`,
      remedy: 'Give the disk its former storage policy in the vSphere Client.',
    };
  });
}
