/** Installs the host package on a cluster: hosts fetch it from the management server and trust only its certificate. */
import { join } from 'node:path';
import { MigrationError } from '../../core/index.ts';
import { readServerCertificate } from '../../dataplane/client/index.ts';
import { claimObject, getCluster } from '../../db/index.ts';
import { filterIssues, installFilter, listFilters } from '../../vsphere/index.ts';
import { callOptions } from '../call-options.ts';
import type { Services } from '../services.ts';

const packagePath = '/host-package/landfall-host.vib';
const vendor = 'Landfall';

export async function installHostPackage(services: Services, clusterId: string): Promise<void> {
  const { prisma } = services.database;
  const cluster = await getCluster(prisma, clusterId);
  const session = await services.session(cluster.siteId);
  const ref = { type: 'ClusterComputeResource', value: cluster.moref } as const;
  const { version } = await services.builtFile('landfall-host.vib');
  await claimObject(prisma, { siteId: cluster.siteId, clusterId, kind: 'package', name: packagePath });
  const installed = (await listFilters(session, ref)).find((filter) => isOurs(filter.vendor, filter.packageUrl));
  if (installed === undefined) {
    const url = new URL(packagePath, services.settings.apiUrl).href;
    const certificate = await readServerCertificate(join(services.settings.home, 'authority'));
    await installFilter(session, ref, url, certificate?.certificatePem, callOptions());
  }
  const ours = (await listFilters(session, ref)).find((filter) => isOurs(filter.vendor, filter.packageUrl));
  if (ours === undefined) throw new MigrationError('FILTER_INSTALL_FAILED', `Version ${version} did not appear`);
  const issues = await filterIssues(session, ref, ours.id);
  if (issues.length === 0) return;
  const what = issues.map(({ host, message }) => `${host.value}: ${message}`).join('; ');
  throw new MigrationError('FILTER_INSTALL_FAILED', `The host package could not be installed: ${what}`);
}

function isOurs(filterVendor: string, packageUrl: string | undefined): boolean {
  return filterVendor.toLowerCase() === vendor.toLowerCase() || packageUrl?.endsWith(packagePath) === true;
}
