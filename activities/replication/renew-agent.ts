/**
 * Keeps agents' certificates young: looked at whenever an agent is about to be spoken to. An agent that was
 * cut off until its certificate had ended is renewed too, by the key it was enrolled with.
 */
import { needsRenewal, renewAgent, type AgentRole } from '../../dataplane/client/index.ts';
import { markEnrolled, type Agent } from '../../db/index.ts';
import { cancellationSignal } from '../call-options.ts';
import type { Services } from '../services.ts';

export async function renewIfDue(services: Services, agent: Agent): Promise<void> {
  const { address, port, spiffeId, spkiSha256, certificateNotAfter } = agent;
  if (address === null || spiffeId === null || spkiSha256 === null || certificateNotAfter === null) return;
  if (!needsRenewal(certificateNotAfter, new Date())) return;
  try {
    const { version, notAfter } = await renewAgent({
      authority: services.authority,
      endpoint: { address, port },
      role: agent.role as AgentRole,
      id: spiffeId.slice(spiffeId.lastIndexOf('/') + 1),
      spkiSha256,
      signal: cancellationSignal(),
    });
    const facts = { address, port, spiffeId, spkiSha256, version, certificateNotAfter: notAfter };
    await markEnrolled(services.database.prisma, agent.id, facts);
  } catch (error) {
    cancellationSignal().throwIfAborted();
    // One that is still in force can be renewed at a better moment.
    if (certificateNotAfter.getTime() <= Date.now()) throw error;
  }
}
