// Clusters whose hosts carry, or are to carry, the host package.
import { z } from 'zod';
import { cluster, clusterList, configureClusterRequest, siteId } from '../../contracts/rest.ts';
import { MigrationError } from '../../core/index.ts';
import { beginClusterSetup, listClusters, recordAudit } from '../../db/index.ts';
import { readInventory } from '../../vsphere/index.ts';
import { accepted, defineRoute, ok, type Route } from '../http/route.ts';
import { startSoon } from '../migrations/start-queued.ts';
import { toCluster } from '../sites/views.ts';

const configureRoute = defineRoute({
  method: 'post',
  path: '/api/v1/clusters/configure',
  tag: 'Clusters',
  operationId: 'configureCluster',
  summary: 'Configure a source cluster',
  description:
    'Installs the host package on every host, enrols each, and creates the storage policy. May be repeated: what is done stays done.',
  scope: 'sites:write',
  body: configureClusterRequest,
  responses: {
    202: {
      description: 'Begun; follow it in GET /clusters',
      schema: cluster,
      headers: { Location: 'Where to follow' },
    },
  },
  problems: [
    'NOT_FOUND',
    'VSPHERE_NOT_FOUND',
    'VSPHERE_UNREACHABLE',
    'VSPHERE_LOGIN_FAILED',
    'WORKFLOW_ENGINE_UNAVAILABLE',
  ],
  async handler({ body }, { services, principal, requestId, log }) {
    const { clusters } = await services.sites.withSite(body.siteId, (session) => readInventory(session));
    const place = clusters.find((item) => item.ref.value === body.clusterMoref);
    if (place === undefined) {
      const names = clusters.map((item) => `${item.name} (${item.ref.value})`).join(', ');
      throw new MigrationError(
        'VSPHERE_NOT_FOUND',
        `The site has no cluster ${body.clusterMoref}. It has: ${names || 'none'}.`,
      );
    }
    const row = await services.database.transaction(async (db) => {
      const begun = await beginClusterSetup(db, body.siteId, body.clusterMoref, place.name);
      await recordAudit(db, {
        principalId: principal.id,
        action: 'cluster.configure',
        targetKind: 'cluster',
        targetId: begun.id,
        outcome: 'accepted',
        requestId,
        details: { ...body, name: place.name },
      });
      return begun;
    });
    await startSoon(log, () => services.workflows.startClusterSetup(row));
    return accepted(toCluster(row), `/api/v1/clusters?siteId=${row.siteId}`);
  },
});

const listRoute = defineRoute({
  method: 'get',
  path: '/api/v1/clusters',
  tag: 'Clusters',
  operationId: 'listClusters',
  summary: 'List configured clusters',
  scope: 'sites:read',
  query: z.strictObject({ siteId: siteId.optional() }),
  responses: { 200: { description: 'With the state of each host', schema: clusterList } },
  problems: [],
  async handler({ query }, { services }) {
    return ok({ items: (await listClusters(services.database.prisma, query.siteId)).map(toCluster) });
  },
});

export const clusterRoutes: readonly Route[] = [configureRoute, listRoute];
