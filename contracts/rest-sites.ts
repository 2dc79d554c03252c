// REST shapes of sites (registered vCenters), their inventory, and the configured clusters.
// A password enters by a request and never stands in a response.
import { z } from 'zod';
import { bytes, moref, siteId, thumbprint, timestamp } from './rest-common.ts';

const address = z
  .string()
  .trim()
  .min(1)
  .max(260)
  .regex(/^[A-Za-z0-9.:[\]_-]+$/, 'must be a host name or address, with :port where it is not 443')
  .describe('Name or address of the vCenter, with :port where it is not 443');

export const probeSiteRequest = z.strictObject({ address }).meta({ id: 'ProbeSiteRequest' });

export const probedSite = z
  .object({
    address: z.string(),
    thumbprintSha256: thumbprint,
    productName: z.string().describe('Name, version and build, as the vCenter states them'),
    apiVersion: z.string(),
    instanceUuid: z.string(),
  })
  .meta({ id: 'ProbedSite', description: 'What an unauthenticated look at a vCenter shows; nothing is stored' });

export const registerSiteRequest = z
  .strictObject({
    name: z.string().trim().min(1).max(80),
    address,
    user: z.string().min(1).max(200),
    password: z.string().min(1).max(500).describe('Stored encrypted, never shown again'),
    thumbprintSha256: thumbprint.describe('The certificate to pin, as POST /sites/probe showed it'),
  })
  .meta({ id: 'RegisterSiteRequest' });

export const site = z
  .object({
    id: siteId,
    name: z.string(),
    address: z.string(),
    user: z.string(),
    thumbprintSha256: thumbprint,
    instanceUuid: z.string(),
    productName: z.string(),
    apiVersion: z.string(),
    createdAt: timestamp,
    pausedAt: timestamp.nullable().describe('Since when its migrations stand still; null while they go on'),
  })
  .meta({ id: 'Site', description: 'A registered vCenter' });

export const siteList = z.object({ items: z.array(site) }).meta({ id: 'SiteList' });

const named = { moref, name: z.string() };

export const host = z
  .object({
    ...named,
    clusterMoref: moref.nullable(),
    version: z.string(),
    build: z.string(),
    connected: z.boolean(),
    inMaintenanceMode: z.boolean(),
  })
  .meta({ id: 'Host' });

export const clusterSummary = z
  .object({
    ...named,
    datacenter: z.string(),
    hostMorefs: z.array(moref),
    datastoreMorefs: z.array(moref),
    networkMorefs: z.array(moref),
  })
  .meta({ id: 'ClusterSummary' });

export const datastore = z
  .object({
    ...named,
    type: z.string(),
    capacityBytes: bytes,
    freeBytes: bytes,
    accessible: z.boolean(),
  })
  .meta({ id: 'Datastore' });

export const network = z.object({ ...named, distributed: z.boolean() }).meta({ id: 'Network' });

export const inventory = z
  .object({
    siteId,
    readAt: timestamp,
    clusters: z.array(clusterSummary),
    hosts: z.array(host),
    datastores: z.array(datastore),
    networks: z.array(network),
  })
  .meta({ id: 'Inventory' });

export const eligibilityFinding = z
  .object({
    code: z.string(),
    severity: z.enum(['refused', 'warning']),
    message: z.string().describe('What stands in the way, and the consequence'),
    remedy: z.string(),
    diskUuid: z.string().nullable().describe('The disk that it concerns, or null for the whole VM'),
  })
  .meta({ id: 'EligibilityFinding' });

export const vmDisk = z
  .object({
    uuid: z.string().nullable(),
    label: z.string(),
    capacityBytes: bytes,
    datastore: z.string(),
    selectable: z.boolean().describe('False where the disk is left out of a migration; the finding says why'),
  })
  .meta({ id: 'VmDisk' });

export const vm = z
  .object({
    siteId,
    moref,
    name: z.string(),
    instanceUuid: z.string(),
    powerState: z.enum(['poweredOn', 'poweredOff', 'suspended']),
    guestName: z.string().nullable(),
    ipAddress: z.string().nullable(),
    cpus: z.int(),
    memoryMb: z.int(),
    disks: z.array(vmDisk),
    networks: z.array(z.string()),
    eligible: z.boolean(),
    findings: z.array(eligibilityFinding),
    vmMigrationId: z.string().nullable().describe('The VM migration that is under way for it, if any'),
  })
  .meta({ id: 'Vm', description: 'A virtual machine and whether it can be migrated, with the reasons' });

export const vmList = z.object({ items: z.array(vm) }).meta({ id: 'VmList' });

export const configureClusterRequest = z
  .strictObject({ siteId, clusterMoref: moref })
  .meta({ id: 'ConfigureClusterRequest' });

export const clusterState = z.enum(['configuring', 'configured', 'failed']);

export const clusterHost = z
  .object({
    moref,
    name: z.string(),
    address: z.string().nullable(),
    state: z.string(),
    message: z.string().nullable(),
  })
  .meta({ id: 'ClusterHost', description: 'How one host of a cluster stands' });

export const cluster = z
  .object({
    siteId,
    clusterMoref: moref,
    name: z.string(),
    state: clusterState,
    failure: z.object({ code: z.string(), message: z.string(), remedy: z.string() }).nullable(),
    hosts: z.array(clusterHost),
    createdAt: timestamp,
    configuredAt: timestamp.nullable(),
  })
  .meta({ id: 'Cluster', description: 'A cluster on whose hosts the host package is, or is being, installed' });

export const clusterList = z.object({ items: z.array(cluster) }).meta({ id: 'ClusterList' });

export type ProbeSiteRequest = z.infer<typeof probeSiteRequest>;
export type ProbedSite = z.infer<typeof probedSite>;
export type RegisterSiteRequest = z.infer<typeof registerSiteRequest>;
export type Site = z.infer<typeof site>;
export type Inventory = z.infer<typeof inventory>;
export type Vm = z.infer<typeof vm>;
export type EligibilityFinding = z.infer<typeof eligibilityFinding>;
export type ConfigureClusterRequest = z.infer<typeof configureClusterRequest>;
export type Cluster = z.infer<typeof cluster>;
