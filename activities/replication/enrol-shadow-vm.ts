/** Makes the receiver in the shadow VM ours, and forgets it when it is gone. */
import { MigrationError, ports } from '../../core/index.ts';
import { enrolAgent } from '../../dataplane/client/index.ts';
import { deleteAgent, findAgent, markEnrolled } from '../../db/index.ts';
import { cancellationSignal } from '../call-options.ts';
import { readPlan } from '../plan.ts';
import type { Services } from '../services.ts';
import { receiverAgent } from '../vsphere/configuration-iso.ts';

export async function enrolShadowVm(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const address = plan.details.shadowVmAddress;
  if (address === null) throw new MigrationError('INTERNAL', 'The shadow VM has no address yet');
  const agent = await receiverAgent(services, plan);
  const enrolment = await enrolAgent({
    authority: services.authority,
    endpoint: { address, port: ports.shadowVm },
    role: 'receiver',
    id: vmMigrationId,
    secret: services.authority.enrolSecretFor('receiver', vmMigrationId, agent.enrolAttempt),
    signal: cancellationSignal(),
  });
  const { spiffeId, spkiSha256, version, notAfter } = enrolment;
  const facts = { address, port: ports.shadowVm, spiffeId, spkiSha256, version, certificateNotAfter: notAfter };
  await markEnrolled(services.database.prisma, agent.id, facts);
}

export async function forgetShadowVm(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const { prisma } = services.database;
  const agent = await findAgent(prisma, plan.destination.siteId, 'receiver', vmMigrationId);
  if (agent !== null) await deleteAgent(prisma, agent.id);
}
