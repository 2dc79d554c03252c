// Turns sites, places, VMs and clusters into the REST shapes. Pure. Credentials have no way through here.
import type { z } from 'zod';
import type { Cluster, Inventory, Site, Vm, clusterHost } from '../../contracts/rest.ts';
import { judgeEligibility, type FailureNote, type HostResult } from '../../core/index.ts';
import type { Cluster as ClusterRow, Site as SiteRow } from '../../db/index.ts';
import type { Inventory as Places, VmFacts } from '../../vsphere/index.ts';

export function toSite(row: SiteRow): Site {
  return {
    id: row.id,
    name: row.name,
    address: row.address,
    user: row.username,
    thumbprintSha256: row.thumbprintSha256,
    instanceUuid: row.instanceUuid,
    productName: row.productName,
    apiVersion: row.apiVersion,
    createdAt: row.createdAt.toISOString(),
    pausedAt: row.pausedAt?.toISOString() ?? null,
  };
}

export function toInventory(siteId: string, places: Places, readAt: Date): Inventory {
  const datacenters = new Map(places.datacenters.map((item) => [item.ref.value, item.name]));
  return {
    siteId,
    readAt: readAt.toISOString(),
    clusters: places.clusters.map((item) => ({
      moref: item.ref.value,
      name: item.name,
      datacenter: datacenters.get(item.datacenter.value) ?? '',
      hostMorefs: item.hosts.map((ref) => ref.value),
      datastoreMorefs: item.datastores.map((ref) => ref.value),
      networkMorefs: item.networks.map((ref) => ref.value),
    })),
    hosts: places.hosts.map((item) => ({
      moref: item.ref.value,
      name: item.name,
      clusterMoref: item.parent?.type === 'ClusterComputeResource' ? item.parent.value : null,
      version: item.productVersion,
      build: item.build,
      connected: item.connected,
      inMaintenanceMode: item.inMaintenanceMode,
    })),
    datastores: places.datastores.map((item) => ({
      moref: item.ref.value,
      name: item.name,
      type: item.type,
      capacityBytes: item.capacityBytes.toString(),
      freeBytes: item.freeBytes.toString(),
      accessible: item.accessible,
    })),
    networks: places.networks.map((item) => ({
      moref: item.ref.value,
      name: item.name,
      distributed: item.portgroupKey !== undefined,
    })),
  };
}

/** The names by which the places of a site know networks, for NICs that name theirs by key only. */
export function networkNames(facts: VmFacts, places: Places): string[] {
  const byKey = new Map(places.networks.map((item) => [item.portgroupKey ?? item.ref.value, item.name]));
  const names = facts.nics.map(
    (nic) => nic.networkName ?? byKey.get(nic.portgroupKey ?? nic.network?.value ?? '') ?? nic.portgroupKey ?? '',
  );
  return [...new Set(names.filter((name) => name !== ''))];
}

export function toVm(siteId: string, facts: VmFacts, places: Places, vmMigrationId: string | null): Vm {
  const datastores = new Map(places.datastores.map((item) => [item.ref.value, item.name]));
  const { eligible, findings, disks } = judgeEligibility(facts);
  return {
    siteId,
    moref: facts.ref.value,
    name: facts.name,
    instanceUuid: facts.instanceUuid,
    powerState: facts.powerState,
    guestName: facts.guestFullName === '' ? null : facts.guestFullName,
    ipAddress: facts.guest.ipAddress ?? null,
    cpus: facts.cpus,
    memoryMb: facts.memoryMb,
    disks: facts.disks.map((disk, index) => ({
      uuid: disk.uuid === '' ? null : disk.uuid,
      label: disk.label,
      capacityBytes: disk.capacityBytes.toString(),
      datastore: datastores.get(disk.datastore?.value ?? '') ?? '',
      selectable: disks[index]?.selectable ?? false,
    })),
    networks: networkNames(facts, places),
    eligible: eligible && vmMigrationId === null,
    findings: [...findings],
    vmMigrationId,
  };
}

export function toCluster(row: ClusterRow): Cluster {
  return {
    siteId: row.siteId,
    clusterMoref: row.moref,
    name: row.name,
    state: row.state as Cluster['state'],
    failure: row.failure as unknown as FailureNote | null,
    hosts: (row.hosts as unknown as HostResult[]).map(toHost),
    createdAt: row.createdAt.toISOString(),
    configuredAt: row.configuredAt?.toISOString() ?? null,
  };
}

function toHost({ moref, name, address, state, message }: HostResult): z.infer<typeof clusterHost> {
  return { moref, name, address, state, message };
}
