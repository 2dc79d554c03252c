/** Writes the signed receipt of a migration: what was moved, what was equal, when, by which programs. */
import { MigrationError } from '../../core/index.ts';
import type { ReceiptContent, ReceiptDisk } from '../../dataplane/client/index.ts';
import { findAgent, findReceipt, getAgent, getSite, insertReceipt, newId } from '../../db/index.ts';
import { readVm } from '../../vsphere/index.ts';
import { pairedDisks, readPlan, type Plan } from '../plan.ts';
import type { Services } from '../services.ts';
import { productVersion } from '../version.ts';
import { finalVmOf } from '../vsphere/final-vm.ts';
import type { KeptCounters } from './progress.ts';

export async function writeReceipt(services: Services, vmMigrationId: string): Promise<void> {
  const { prisma } = services.database;
  if ((await findReceipt(prisma, vmMigrationId)) !== null) return;
  const content = await composeReceipt(services, await readPlan(services, vmMigrationId));
  const receipt = services.authority.receiptSigner.signReceipt(content);
  await insertReceipt(prisma, vmMigrationId, JSON.stringify(receipt, null, 2));
}

async function composeReceipt(services: Services, plan: Plan): Promise<ReceiptContent> {
  const { details } = plan;
  return {
    receiptId: newId('rcpt'),
    installationId: services.authority.installationId,
    migrationId: details.migrationId,
    vmMigrationId: details.id,
    source: await sourceSide(services, plan),
    destination: await destinationSide(services, plan),
    disks: receiptDisks(plan),
    handOverToken: details.handOverToken.toString(),
    startedAt: isoTime(details.startedAt, 'start'),
    readyAt: isoTime(details.readyAt, 'readiness'),
    frozenAt: isoTime(details.frozenAt, 'freeze'),
    handedOverAt: isoTime(details.handedOverAt, 'hand-over'),
    dataPathMs: details.dataPathMs ?? 0,
    approvedBy: details.approvedBy ?? 'automatic',
    programs: await programsOf(services, plan),
  };
}

async function sourceSide(services: Services, { details }: Plan): Promise<ReceiptContent['source']> {
  const site = await getSite(services.database.prisma, details.sourceSiteId);
  return {
    vCenterInstanceUuid: site.instanceUuid,
    vCenterName: site.name,
    vmName: details.vmName,
    vmInstanceUuid: details.vmInstanceUuid,
  };
}

async function destinationSide(services: Services, plan: Plan): Promise<ReceiptContent['destination']> {
  const site = await getSite(services.database.prisma, plan.destination.siteId);
  const vm = await readVm(await services.session(plan.destination.siteId), finalVmOf(plan));
  return {
    vCenterInstanceUuid: site.instanceUuid,
    vCenterName: site.name,
    vmName: vm.name,
    vmInstanceUuid: vm.instanceUuid,
  };
}

function receiptDisks(plan: Plan): ReceiptDisk[] {
  return pairedDisks(plan).map((disk) => {
    const { sourceRoot, destinationRoot, sourceUuid, destinationUuid, capacityBytes } = disk;
    if (sourceRoot === null || destinationRoot === null || sourceRoot !== destinationRoot) {
      throw new MigrationError('ROOTS_DIFFER', `No equal roots are known of ${disk.label}`);
    }
    const seen = disk.progress as Partial<KeptCounters> | null;
    return {
      sourceUuid,
      destinationUuid,
      capacityBytes: capacityBytes.toString(),
      sourceRoot,
      destinationRoot,
      verified: seen?.verified ?? 'transfer',
      verifiedAt: seen?.verifiedAt ?? isoTime(plan.details.handedOverAt, 'hand-over'),
      movedBytes: { network: seen?.sentBytes ?? '0', device: '0', deduplicated: '0' },
    };
  });
}

async function programsOf(services: Services, { details, destination }: Plan): Promise<ReceiptContent['programs']> {
  const { prisma } = services.database;
  const source = details.sourceAgentId === null ? null : await getAgent(prisma, details.sourceAgentId);
  const receiver = await findAgent(prisma, destination.siteId, 'receiver', details.id);
  const [iso, hostPackage] = await Promise.all([
    services.builtFile('agent.iso'),
    services.builtFile('landfall-host.vib'),
  ]);
  return {
    managementServer: { version: await productVersion(), sha256: null },
    sourceReplicator: { version: source?.version ?? hostPackage.version, sha256: hostPackage.sha256 },
    destinationReplicator: { version: receiver?.version ?? iso.version, sha256: iso.sha256 },
  };
}

function isoTime(time: Date | null, what: string): string {
  if (time === null) throw new MigrationError('INTERNAL', `The time of the ${what} is not known`);
  return time.toISOString();
}
