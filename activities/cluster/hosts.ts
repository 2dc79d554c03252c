/** The hosts of a cluster that is being configured: checked, given their secrets, enrolled one by one. */
import { MigrationError, failureNote, ports, type HostResult } from '../../core/index.ts';
import { enrolAgent } from '../../dataplane/client/index.ts';
import {
  ensureAgent,
  getAgent,
  getCluster,
  markEnrolled,
  setHostResult,
  type Agent,
  type Cluster,
} from '../../db/index.ts';
import { managementAddress, setHostOptions, type HostPlace } from '../../vsphere/index.ts';
import { cancellationSignal } from '../call-options.ts';
import type { Services } from '../services.ts';

/** The option of a host from which its replicator reads the one-time secret. */
const secretOption = 'Landfall.EnrolSecret';
const hostsMin = 2;

/** Checks what can be configured at all (product row S4) and lists the hosts. */
export async function prepareCluster(services: Services, clusterId: string): Promise<readonly string[]> {
  const { cluster, hosts } = await readHosts(services, clusterId);
  const usable = hosts.filter((host) => host.connected && !host.inMaintenanceMode);
  if (usable.length < hostsMin) {
    throw new MigrationError('CLUSTER_NOT_SUITABLE', `${cluster.name} has ${usable.length} usable hosts`);
  }
  const versions = [...new Set(usable.map((host) => host.productVersion))];
  if (versions.length > 1) {
    throw new MigrationError('CLUSTER_NOT_SUITABLE', `The hosts run different versions: ${versions.join(', ')}`);
  }
  for (const host of usable) {
    await hostAgent(services, cluster, host);
    await noteHost(services, clusterId, host, { state: 'waiting' });
  }
  return usable.map((host) => host.ref.value);
}

/** A host that is enrolled needs no secret any more; one that lost its identity gets another. */
export async function writeHostOptions(services: Services, clusterId: string): Promise<void> {
  const { cluster, hosts } = await readHosts(services, clusterId);
  const session = await services.session(cluster.siteId);
  for (const host of hosts.filter((each) => each.connected)) {
    const agent = await hostAgent(services, cluster, host);
    if (agent.state === 'enrolled') continue;
    const secret = services.authority.enrolSecretFor('host', agent.id, agent.enrolAttempt);
    await setHostOptions(session, host.ref, { [secretOption]: secret });
    await noteHost(services, clusterId, host, { state: 'installing' });
  }
}

/** Fails while the host's replicator does not answer yet: it is tried again until it does. */
export async function enrolHost(services: Services, clusterId: string, hostMoref: string): Promise<void> {
  const { cluster, hosts } = await readHosts(services, clusterId);
  const host = hosts.find(({ ref }) => ref.value === hostMoref);
  if (host === undefined) throw new MigrationError('VSPHERE_NOT_FOUND', `Host ${hostMoref} left the cluster`);
  const agent = await hostAgent(services, cluster, host);
  const session = await services.session(cluster.siteId);
  const address = await managementAddress(session, host.ref);
  await noteHost(services, clusterId, host, { state: 'enrolling', address });
  try {
    await enrol(services, agent, address);
  } catch (error) {
    await noteHost(services, clusterId, host, { state: 'failed', address, message: failureNote(error).message });
    throw error;
  }
  await setHostOptions(session, host.ref, { [secretOption]: '' });
  await noteHost(services, clusterId, host, { state: 'ready', address });
}

async function enrol(services: Services, { id }: Agent, address: string): Promise<void> {
  const agent = await getAgent(services.database.prisma, id);
  const knownId = agent.spiffeId?.split('/').at(-1);
  const enrolment = await enrolAgent({
    authority: services.authority,
    endpoint: { address, port: ports.hostAgent },
    role: 'host',
    ...(knownId === undefined ? {} : { id: knownId }),
    secret: services.authority.enrolSecretFor('host', agent.id, agent.enrolAttempt),
    signal: cancellationSignal(),
  });
  const { spiffeId, spkiSha256, version, notAfter } = enrolment;
  const facts = { address, port: ports.hostAgent, spiffeId, spkiSha256, version, certificateNotAfter: notAfter };
  await markEnrolled(services.database.prisma, id, facts);
}

async function readHosts(services: Services, clusterId: string): Promise<{ cluster: Cluster; hosts: HostPlace[] }> {
  const cluster = await getCluster(services.database.prisma, clusterId);
  const inventory = await services.inventory(cluster.siteId);
  const place = inventory.clusters.find(({ ref }) => ref.value === cluster.moref);
  if (place === undefined) throw new MigrationError('VSPHERE_NOT_FOUND', `There is no cluster ${cluster.moref}`);
  const members = new Set(place.hosts.map((host) => host.value));
  return { cluster, hosts: inventory.hosts.filter((host) => members.has(host.ref.value)) };
}

function hostAgent(services: Services, { siteId }: Cluster, host: HostPlace): Promise<Agent> {
  const moref = host.ref.value;
  const wish = { siteId, role: 'host', moref, name: host.name, port: ports.hostAgent } as const;
  return ensureAgent(services.database.prisma, wish);
}

async function noteHost(
  services: Services,
  clusterId: string,
  host: HostPlace,
  change: Pick<HostResult, 'state'> & Partial<Pick<HostResult, 'address' | 'message'>>,
): Promise<void> {
  const { state, address = null, message = null } = change;
  await setHostResult(services.database, clusterId, {
    moref: host.ref.value,
    name: host.name,
    state,
    address,
    message,
  });
}
