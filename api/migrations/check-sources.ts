// Checks the source side of a migration request: each VM is there, on a configured cluster, eligible, and not migrating.
// Reads only. All VMs that are refused are named at once.
import type { ProblemError, StartMigrationRequest } from '../../contracts/rest.ts';
import { MigrationError, judgeEligibility, type ErrorCode } from '../../core/index.ts';
import {
  findActiveVmMigration,
  findCluster,
  getSite,
  type NewDisk,
  type NewMember,
  type Site,
} from '../../db/index.ts';
import {
  isFault,
  readInventory,
  readVm,
  type HostPlace,
  type Inventory,
  type VmDisk,
  type VmFacts,
} from '../../vsphere/index.ts';
import { invalidInput } from '../http/problems.ts';
import type { Services } from '../services.ts';
import { networkNames } from '../sites/views.ts';

/** One VM that may be migrated, with what the checks of the destination need. */
export interface CheckedSource {
  readonly site: Site;
  readonly facts: VmFacts;
  readonly host: HostPlace | undefined;
  readonly networks: readonly string[];
  readonly member: NewMember;
}

interface Refusal extends ProblemError {
  readonly code: ErrorCode;
  readonly remedy?: string;
}

/** VMs of another site than the destination's. */
export type WantedSources = Pick<StartMigrationRequest, 'vms'> & { readonly destination: { readonly siteId: string } };

export async function checkSources(wanted: WantedSources, services: Services): Promise<CheckedSource[]> {
  const siteIds = [...new Set(wanted.vms.map((vm) => vm.siteId))];
  if (siteIds.includes(wanted.destination.siteId)) {
    throw invalidInput([{ pointer: '/destination/siteId', message: 'must be another site than that of the VMs' }]);
  }
  const places = new Map<string, Inventory>();
  for (const siteId of siteIds) {
    places.set(siteId, await services.sites.withSite(siteId, (session) => readInventory(session)));
  }
  const sources: CheckedSource[] = [];
  const refusals: Refusal[] = [];
  for (const [index, vm] of wanted.vms.entries()) {
    const facts = await readFacts(services, vm.siteId, vm.moref);
    const here = places.get(vm.siteId);
    if (here === undefined) continue;
    const source = await describe(services, vm.siteId, facts, here);
    refusals.push(
      ...(await refusalsOf(services, source, here)).map((refusal) => ({ ...refusal, pointer: `/vms/${index}` })),
    );
    sources.push(source);
  }
  refuseAll(refusals);
  return sources;
}

/** One VM as the checks of a destination need it, whatever becomes of it now. */
export async function describeSource(services: Services, siteId: string, moref: string): Promise<CheckedSource> {
  const facts = await readFacts(services, siteId, moref);
  const places = await services.sites.withSite(siteId, (session) => readInventory(session));
  return describe(services, siteId, facts, places);
}

async function readFacts(services: Services, siteId: string, moref: string): Promise<VmFacts> {
  try {
    return await services.sites.withSite(siteId, (session) =>
      readVm(session, { type: 'VirtualMachine', value: moref }),
    );
  } catch (error) {
    if (!isFault(error, 'ManagedObjectNotFound')) throw error;
    const { name } = await getSite(services.database.prisma, siteId);
    throw new MigrationError('VSPHERE_NOT_FOUND', `${name} has no VM ${moref}.`, { cause: error });
  }
}

async function describe(services: Services, siteId: string, facts: VmFacts, places: Inventory): Promise<CheckedSource> {
  const { findings, disks } = judgeEligibility(facts);
  const selected = facts.disks.filter((_, index) => disks[index]?.selectable === true);
  const warnings = findings.filter((finding) => finding.severity === 'warning');
  return {
    site: await getSite(services.database.prisma, siteId),
    facts,
    host: places.hosts.find((host) => host.ref.value === facts.host?.value),
    networks: networkNames(facts, places),
    member: {
      sourceSiteId: siteId,
      vmMoref: facts.ref.value,
      vmInstanceUuid: facts.instanceUuid,
      vmName: facts.name,
      sourceHostMoref: facts.host?.value ?? null,
      warnings: warnings.map(({ code, message }) => ({ code, message })),
      settings: null,
      disks: selected.map(toNewDisk),
    },
  };
}

async function refusalsOf(
  services: Services,
  source: CheckedSource,
  places: Inventory,
): Promise<Omit<Refusal, 'pointer'>[]> {
  const { site, facts, host } = source;
  const { prisma } = services.database;
  if ((await findActiveVmMigration(prisma, site.id, facts.instanceUuid)) !== null) {
    return [{ code: 'VM_ALREADY_MIGRATING', message: `${facts.name} is being migrated already` }];
  }
  const refused = judgeEligibility(facts).findings.filter((finding) => finding.severity === 'refused');
  if (refused.length > 0) {
    return refused.map(({ message, remedy }) => ({
      code: 'VM_NOT_ELIGIBLE',
      message: `${facts.name}: ${message}. ${remedy}`,
      remedy,
    }));
  }
  const cluster = places.clusters.find((item) => item.ref.value === host?.parent?.value);
  const record = cluster === undefined ? null : await findCluster(prisma, site.id, cluster.ref.value);
  if (record?.state === 'configured') return [];
  const where = cluster === undefined ? 'a host outside any cluster' : `the cluster ${cluster.name}`;
  const remedy =
    cluster === undefined
      ? 'Move the VM to a cluster.'
      : `Run "landfall cluster configure ${site.name} ${cluster.name}".`;
  return [
    { code: 'CLUSTER_NOT_CONFIGURED', message: `${facts.name} runs on ${where}, which is not configured`, remedy },
  ];
}

/** The first refusal gives the code; all of them are listed. */
function refuseAll(refusals: readonly Refusal[]): void {
  const [first] = refusals;
  if (first === undefined) return;
  throw new MigrationError(
    first.code,
    `${refusals.map((refusal) => refusal.message).join('. ')}.`.replaceAll('..', '.'),
    {
      remedy: first.remedy,
      details: { errors: refusals.map(({ pointer, message, code }) => ({ pointer, message, code })) },
    },
  );
}

function toNewDisk(disk: VmDisk): NewDisk {
  return {
    label: disk.label,
    sourceUuid: disk.uuid,
    sourcePath: disk.path,
    deviceKey: disk.key,
    controllerKey: disk.controllerKey,
    unitNumber: disk.unitNumber,
    capacityBytes: disk.capacityBytes,
    provisioning: disk.thin ? 'thin' : 'lazy',
  };
}
