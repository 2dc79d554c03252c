/** The configuration ISO of a shadow VM: who it is and the secret by which its receiver knows us. */
import { buildConfigurationIso } from '../../dataplane/client/index.ts';
import { claimObject, ensureAgent, releaseByName } from '../../db/index.ts';
import { ports } from '../../core/index.ts';
import { deleteFile, makeFolder, uploadFile } from '../../vsphere/index.ts';
import { callOptions } from '../call-options.ts';
import { readDestination, readPlan, type DestinationPlaces, type Plan } from '../plan.ts';
import type { Services } from '../services.ts';

export function configurationIsoPath(places: DestinationPlaces): string {
  return `${places.shadowFolder}/configuration.iso`;
}

/** The record of the receiver; made with the configuration, because the secret depends on it. */
export function receiverAgent(services: Services, plan: Plan) {
  const vmMigrationId = plan.details.id;
  return ensureAgent(services.database.prisma, {
    siteId: plan.destination.siteId,
    role: 'receiver',
    moref: vmMigrationId,
    name: plan.names.vm,
    port: ports.shadowVm,
    vmMigrationId,
  });
}

export async function uploadConfigurationIso(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const places = await readDestination(services, plan);
  const agent = await receiverAgent(services, plan);
  const { authority } = services;
  const image = await buildConfigurationIso({
    installationId: authority.installationId,
    agentId: agent.id,
    vmMigrationId,
    authorityPem: authority.certificatePem,
    enrolSecret: authority.enrolSecretFor('receiver', vmMigrationId, agent.enrolAttempt),
  });
  const owned = { siteId: plan.destination.siteId, vmMigrationId, kind: 'folder', name: places.shadowFolder } as const;
  await claimObject(services.database.prisma, owned);
  await makeFolder(places.session, places, places.shadowFolder);
  await uploadFile(places.session, places, configurationIsoPath(places), image, image.length, callOptions());
}

/** Removes the whole folder of the shadow VM: everything in it is ours, and no kept disk ever lies there. */
export async function deleteConfigurationIso(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const places = await readDestination(services, plan);
  await deleteFile(places.session, places, places.shadowFolder, callOptions());
  const owned = { siteId: plan.destination.siteId, vmMigrationId, kind: 'folder', name: places.shadowFolder } as const;
  await releaseByName(services.database.prisma, owned);
}
