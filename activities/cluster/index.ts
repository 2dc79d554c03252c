/** Activities of a cluster's configuration. Each may be repeated; results per host stand in the records. */
import type { ClusterActivities } from '../../contracts/activities.ts';
import { claimObject, getCluster, nameObject, updateCluster } from '../../db/index.ts';
import { ensurePolicy } from '../../vsphere/index.ts';
import type { Services } from '../services.ts';
import { installHostPackage } from './host-package.ts';
import { enrolHost, prepareCluster, writeHostOptions } from './hosts.ts';

const policyName = 'Landfall Network Migration';
const policyDescription = 'Disks with this policy are replicated by Landfall while a migration runs.';

export function clusterActivities(services: Services): ClusterActivities {
  return {
    prepareCluster: ({ clusterId }) => prepareCluster(services, clusterId),
    writeHostOptions: ({ clusterId }) => writeHostOptions(services, clusterId),
    installHostPackage: ({ clusterId }) => installHostPackage(services, clusterId),
    enrolHost: ({ clusterId, hostMoref }) => enrolHost(services, clusterId, hostMoref),
    ensureStoragePolicy: ({ clusterId }) => ensureStoragePolicy(services, clusterId),
    async finishClusterSetup({ clusterId, failure }) {
      const state = failure === null ? 'configured' : 'failed';
      await updateCluster(services.database.prisma, clusterId, { state, failure });
    },
  };
}

async function ensureStoragePolicy(services: Services, clusterId: string): Promise<void> {
  const { prisma } = services.database;
  const { siteId } = await getCluster(prisma, clusterId);
  const claim = await claimObject(prisma, { siteId, clusterId, kind: 'policy', name: policyName });
  const policyId = await ensurePolicy(await services.session(siteId), policyName, policyDescription);
  await nameObject(prisma, claim.id, policyId);
  await updateCluster(prisma, clusterId, { policyId });
}
