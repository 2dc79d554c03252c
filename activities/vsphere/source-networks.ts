/** Names of the networks that a source VM's cards are plugged into, whatever kind of switch they are on. */
import type { VmFacts, VmNic } from '../../vsphere/index.ts';
import type { Services } from '../services.ts';

export async function networkNamesOf(services: Services, siteId: string, vm: VmFacts): Promise<string[]> {
  const { networks } = await services.inventory(siteId);
  const nameOf = (nic: VmNic): string | undefined =>
    nic.networkName ?? networks.find(({ portgroupKey }) => portgroupKey && portgroupKey === nic.portgroupKey)?.name;
  return vm.nics.flatMap((nic) => nameOf(nic) ?? []);
}
