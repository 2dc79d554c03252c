// Sites: look at a vCenter, register it, see what it holds, forget it.
import { z } from 'zod';
import {
  inventory,
  probeSiteRequest,
  probedSite,
  registerSiteRequest,
  site,
  siteId,
  siteList,
  vmList,
} from '../../contracts/rest.ts';
import { deleteSite, getSite, listActiveOfSite, listSites, recordAudit, recordEvent } from '../../db/index.ts';
import { listVms, readInventory } from '../../vsphere/index.ts';
import { created, defineRoute, noContent, ok, type Route } from '../http/route.ts';
import { registerSite } from '../sites/register-site.ts';
import { toInventory, toSite, toVm } from '../sites/views.ts';

const pathParameters = z.strictObject({ siteId });
const lookProblems = ['VSPHERE_UNREACHABLE', 'VSPHERE_NOT_VCENTER', 'VSPHERE_TIMEOUT'] as const;
const sessionProblems = [
  ...lookProblems,
  'VSPHERE_CERTIFICATE_MISMATCH',
  'VSPHERE_LOGIN_FAILED',
  'VSPHERE_NO_PERMISSION',
] as const;

const probeRoute = defineRoute({
  method: 'post',
  path: '/api/v1/sites/probe',
  tag: 'Sites',
  operationId: 'probeSite',
  summary: 'Look at a vCenter',
  description:
    'Shows who answers and with which certificate, so that a person can compare the thumbprint. Nothing is stored.',
  scope: 'sites:write',
  body: probeSiteRequest,
  responses: { 200: { description: 'Who answers there', schema: probedSite } },
  problems: lookProblems,
  async handler({ body }, { services }) {
    const seen = await services.sites.probe(body.address);
    const { thumbprintSha256, instanceUuid, apiVersion, fullName } = seen;
    return ok({ address: body.address, thumbprintSha256, productName: fullName, apiVersion, instanceUuid });
  },
});

const registerRoute = defineRoute({
  method: 'post',
  path: '/api/v1/sites',
  tag: 'Sites',
  operationId: 'registerSite',
  summary: 'Register a vCenter',
  description:
    'Checked in this order: it answers, its certificate is the given one, it is a vCenter, the login is accepted, ' +
    'its clock is right within five minutes, the user has every privilege that is needed. Nothing is stored when one fails.',
  scope: 'sites:write',
  body: registerSiteRequest,
  responses: { 201: { description: 'Registered', schema: site, headers: { Location: 'Address of the site' } } },
  problems: [...sessionProblems, 'VSPHERE_CLOCK_DIFFERS', 'SITE_EXISTS'],
  async handler({ body }, context) {
    const row = await registerSite(body, context);
    return created(toSite(row), `/api/v1/sites/${row.id}`);
  },
});

const listRoute = defineRoute({
  method: 'get',
  path: '/api/v1/sites',
  tag: 'Sites',
  operationId: 'listSites',
  summary: 'List registered vCenters',
  scope: 'sites:read',
  responses: { 200: { description: 'All sites, the oldest first', schema: siteList } },
  problems: [],
  async handler(_input, { services }) {
    return ok({ items: (await listSites(services.database.prisma)).map(toSite) });
  },
});

const showRoute = defineRoute({
  method: 'get',
  path: '/api/v1/sites/{siteId}',
  tag: 'Sites',
  operationId: 'getSite',
  summary: 'See a registered vCenter',
  scope: 'sites:read',
  params: pathParameters,
  responses: { 200: { description: 'The site', schema: site } },
  problems: ['NOT_FOUND'],
  async handler({ params }, { services }) {
    return ok(toSite(await getSite(services.database.prisma, params.siteId)));
  },
});

const removeRoute = defineRoute({
  method: 'delete',
  path: '/api/v1/sites/{siteId}',
  tag: 'Sites',
  operationId: 'removeSite',
  summary: 'Forget a vCenter',
  description: 'Removes the site and its stored credentials. Refused while a migration uses it.',
  scope: 'sites:write',
  params: pathParameters,
  responses: { 204: { description: 'Forgotten' } },
  problems: ['NOT_FOUND', 'SITE_IN_USE'],
  async handler({ params }, { services, principal, requestId }) {
    await services.database.transaction(async (db) => {
      const { name, address } = await getSite(db, params.siteId);
      await deleteSite(db, params.siteId);
      await recordEvent(db, 'site.removed', { data: { siteId: params.siteId, name } });
      await recordAudit(db, {
        principalId: principal.id,
        action: 'site.remove',
        targetKind: 'site',
        targetId: params.siteId,
        outcome: 'done',
        requestId,
        details: { name, address },
      });
    });
    await services.sites.forget(params.siteId);
    return noContent;
  },
});

const inventoryRoute = defineRoute({
  method: 'get',
  path: '/api/v1/sites/{siteId}/inventory',
  tag: 'Sites',
  operationId: 'getInventory',
  summary: 'See clusters, hosts, datastores and networks',
  scope: 'sites:read',
  params: pathParameters,
  responses: { 200: { description: 'As the vCenter has them now', schema: inventory } },
  problems: ['NOT_FOUND', ...sessionProblems],
  async handler({ params }, { services }) {
    const places = await services.sites.withSite(params.siteId, (session) => readInventory(session));
    return ok(toInventory(params.siteId, places, services.now()));
  },
});

const vmsRoute = defineRoute({
  method: 'get',
  path: '/api/v1/sites/{siteId}/vms',
  tag: 'Sites',
  operationId: 'listVms',
  summary: 'List VMs and whether they can be migrated',
  scope: 'sites:read',
  params: pathParameters,
  responses: { 200: { description: 'Every VM with its findings', schema: vmList } },
  problems: ['NOT_FOUND', ...sessionProblems],
  async handler({ params }, { services }) {
    const [facts, places, active] = await Promise.all([
      services.sites.withSite(params.siteId, (session) => listVms(session)),
      services.sites.withSite(params.siteId, (session) => readInventory(session)),
      listActiveOfSite(services.database.prisma, params.siteId),
    ]);
    const migrating = new Map(active.map((row) => [row.vmInstanceUuid, row.id]));
    const items = facts.map((vm) => toVm(params.siteId, vm, places, migrating.get(vm.instanceUuid) ?? null));
    return ok({ items: items.sort((a, b) => a.name.localeCompare(b.name)) });
  },
});

export const siteRoutes: readonly Route[] = [
  probeRoute,
  registerRoute,
  listRoute,
  showRoute,
  removeRoute,
  inventoryRoute,
  vmsRoute,
];
