/** Makes sure that the job of a migration runs at the source under a given lease, with the receiver prepared for it. */
import { spiffeIdOf, type ControlClient, type JobSpec, type JobStatus } from '../../dataplane/client/index.ts';
import { findAgent } from '../../db/index.ts';
import { MigrationError, ports } from '../../core/index.ts';
import { callOptions } from '../call-options.ts';
import { pairedDisks, type Plan } from '../plan.ts';
import type { Services } from '../services.ts';
import { openAgent } from './source-agent.ts';

export async function ensureJob(
  services: Services,
  source: ControlClient,
  plan: Plan,
  generation: number,
): Promise<JobStatus> {
  const { details } = plan;
  const disks = pairedDisks(plan).map(({ sourceUuid, destinationUuid, capacityBytes }) => ({
    sourceUuid,
    destinationUuid,
    capacityBytes: capacityBytes.toString(),
  }));
  await prepareReceiver(services, plan, generation, disks);
  const spec: JobSpec = {
    kind: 'replicate',
    vmUuid: details.vmInstanceUuid.toLowerCase(),
    generation,
    vmMigrationId: details.id,
    receiver: {
      address: shadowAddress(plan),
      port: ports.shadowVm,
      spiffeId: spiffeIdOf(services.authority.installationId, { role: 'receiver', id: details.id }),
    },
    disks,
    dials: plan.dials,
  };
  return signIfAsked(services, source, details.id, generation, await source.ensureJob(details.id, spec, callOptions()));
}

/** The source's key never leaves it: it asks for a certificate, also when the old one nears its end. */
export async function signIfAsked(
  services: Services,
  source: ControlClient,
  jobId: string,
  generation: number,
  status: JobStatus,
): Promise<JobStatus> {
  if (status.state !== 'awaiting-certificate' || !status.csrPem) return status;
  const { certificatePem } = await services.authority.signRequest(status.csrPem, { role: 'source', id: jobId });
  const certificate = { generation, certificatePem, authorityPem: services.authority.certificatePem };
  return source.putCertificate(jobId, certificate, callOptions());
}

async function prepareReceiver(
  services: Services,
  plan: Plan,
  generation: number,
  disks: JobSpec['disks'],
): Promise<void> {
  const agent = await findAgent(services.database.prisma, plan.destination.siteId, 'receiver', plan.details.id);
  if (agent === null) throw new MigrationError('AGENT_NOT_ENROLLED', 'The receiver is not enrolled');
  const receiver = await openAgent(services, agent);
  try {
    await receiver.prepareDisks(generation, disks, callOptions());
  } finally {
    await receiver.close();
  }
}

function shadowAddress({ details }: Plan): string {
  if (details.shadowVmAddress === null) throw new MigrationError('INTERNAL', 'The shadow VM has no address yet');
  return details.shadowVmAddress;
}
