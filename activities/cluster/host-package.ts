/** Installs the host package on a cluster: hosts fetch it from the management server and trust only its certificate. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MigrationError, type HostResult } from '../../core/index.ts';
import { readServerCertificate } from '../../dataplane/client/index.ts';
import { claimObject, getCluster, setHostResult, type Cluster } from '../../db/index.ts';
import {
  filterIssues,
  installFilter,
  isFault,
  listFilters,
  type ClusterFilter,
  type ClusterRef,
  type VsphereSession,
} from '../../vsphere/index.ts';
import { callOptions } from '../call-options.ts';
import type { Services } from '../services.ts';

const packagePath = '/host-package/landfall-host.vib';
const vendor = 'Landfall';

export async function installHostPackage(services: Services, clusterId: string): Promise<void> {
  const { prisma } = services.database;
  const cluster = await getCluster(prisma, clusterId);
  const session = await services.session(cluster.siteId);
  const ref = { type: 'ClusterComputeResource', value: cluster.moref } as const;
  // Asked for first: without the package nothing may be promised to a vCenter.
  await services.builtFile('landfall-host.vib');
  await claimObject(prisma, { siteId: cluster.siteId, clusterId, kind: 'package', name: packagePath });
  try {
    if ((await findOurs(session, ref)) === undefined) await install(services, session, ref);
  } catch (error) {
    if (!isFault(error, 'PlatformConfigFault', 'HostConfigFault')) throw error;
    throw await installFailure(services, session, cluster, ref, error.safeMessage);
  }
  const failure = await installFailure(services, session, cluster, ref, '');
  if (failure.details['hosts'] !== 0) throw failure;
}

async function install(services: Services, session: VsphereSession, cluster: ClusterRef): Promise<void> {
  const url = new URL(packagePath, services.settings.apiUrl).href;
  await installFilter(session, cluster, url, await apiCertificate(services), callOptions());
}

/** What hosts pin: the certificate that the API shows, whoever made it. */
async function apiCertificate({ settings }: Services): Promise<string | undefined> {
  if (settings.apiCertificateFile !== undefined) return readFile(settings.apiCertificateFile, 'utf8');
  return (await readServerCertificate(join(settings.home, 'authority')))?.certificatePem;
}

/** Says which host refused and why, in the records and in the error. */
async function installFailure(
  services: Services,
  session: VsphereSession,
  cluster: Cluster,
  ref: ClusterRef,
  otherwise: string,
): Promise<MigrationError> {
  const ours = await findOurs(session, ref);
  const issues = ours === undefined ? [] : await filterIssues(session, ref, ours.id);
  for (const { host, message } of issues) {
    const known = (cluster.hosts as unknown as HostResult[]).find(({ moref }) => moref === host.value);
    if (known !== undefined) await setHostResult(services.database, cluster.id, { ...known, state: 'failed', message });
  }
  const what = issues.map(({ host, message }) => `${host.value}: ${message}`).join('; ') || otherwise;
  return new MigrationError('FILTER_INSTALL_FAILED', `The host package could not be installed: ${what}`, {
    details: { hosts: issues.length },
  });
}

async function findOurs(session: VsphereSession, cluster: ClusterRef): Promise<ClusterFilter | undefined> {
  return (await listFilters(session, cluster)).find((filter) => isOurs(filter.vendor, filter.packageUrl));
}

function isOurs(filterVendor: string, packageUrl: string | undefined): boolean {
  return filterVendor.toLowerCase() === vendor.toLowerCase() || packageUrl?.endsWith(packagePath) === true;
}
