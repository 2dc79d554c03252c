// Enrolment and renewal against a stand-in agent: each proof, each cut, each impostor.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startAgentStandIn } from '../../test/helpers/agent-stand-in.ts';
import type { AgentStandIn, StandInOptions } from '../../test/helpers/agent-stand-in.ts';
import { createRequest } from '../../test/helpers/certificates.ts';
import { openAuthority } from './authority.ts';
import type { Authority } from './authority.ts';
import { enrolAgent, enrolProof, renewAgent } from './enrol.ts';
import { fingerprintOf, readCertificate } from './x509.ts';

const dayMs = 24 * 60 * 60_000;
const vmMigrationId = 'vmm_1';
let folder: string;
let authority: Authority;
let foreignAuthority: Authority;
let secret: string;
let agents: AgentStandIn[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'landfall-enrol-test-'));
  authority = await openAuthority(join(folder, 'ours'));
  foreignAuthority = await openAuthority(join(folder, 'foreign'));
  secret = authority.enrolSecretFor('receiver', vmMigrationId, 1);
});
afterEach(async () => {
  await Promise.all(agents.map((agent) => agent.close()));
  agents = [];
});
afterAll(() => rm(folder, { recursive: true }));

async function receiver(options: Partial<StandInOptions> = {}): Promise<AgentStandIn> {
  const agent = await startAgentStandIn({ role: 'receiver', agentId: 'agent-1', secret, ...options });
  agents.push(agent);
  return agent;
}

const enrol = (agent: AgentStandIn, given = secret, by = authority): ReturnType<typeof enrolAgent> =>
  enrolAgent({
    authority: by,
    endpoint: agent.endpoint,
    role: 'receiver',
    id: vmMigrationId,
    secret: given,
    timeoutMs: 2_000,
  });

describe('enrolment', () => {
  it('gives an agent that knows the secret a certificate for its own key', async () => {
    const agent = await receiver();
    const enrolment = await enrol(agent);
    expect(enrolment).toMatchObject({
      outcome: 'enrolled',
      agentId: 'agent-1',
      spiffeId: `spiffe://landfall/${authority.installationId}/receiver/${vmMigrationId}`,
      spkiSha256: fingerprintOf(agent.spkiDer),
    });
    expect(readCertificate(agent.certificate?.certificatePem ?? '')?.uris).toEqual([enrolment.spiffeId]);
    expect(agent.certificate?.authorityPem).toBe(authority.certificatePem);
    expect(agent.connections()).toBe(1);
  });

  it('names a host after its own agent id', async () => {
    const agent = await receiver({ role: 'host', agentId: 'host-agent-7' });
    const enrolment = await enrolAgent({ authority, endpoint: agent.endpoint, role: 'host', secret });
    expect(enrolment.spiffeId).toBe(`spiffe://landfall/${authority.installationId}/host/host-agent-7`);
  });

  it('may run twice', async () => {
    const agent = await receiver();
    const first = await enrol(agent);
    const second = await enrol(agent);
    expect(second).toMatchObject({
      outcome: 'already-enrolled',
      spkiSha256: first.spkiSha256,
      spiffeId: first.spiffeId,
    });
    expect(Math.abs(second.notAfter.getTime() - first.notAfter.getTime())).toBeLessThan(1_000);
  });

  it.each([
    { path: '/v1/enrol/begin', after: false, then: 'enrolled' },
    { path: '/v1/enrol/begin', after: true, then: 'enrolled' },
    { path: '/v1/enrol/complete', after: false, then: 'enrolled' },
    { path: '/v1/enrol/complete', after: true, then: 'already-enrolled' },
  ])('cut off at $path (done: $after), goes on at the next try', async ({ path, after, then }) => {
    const agent = await receiver();
    agent.faults.dropAt = { path, after };
    await expect(enrol(agent)).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE', retry: 'retryable' });
    delete agent.faults.dropAt;
    expect((await enrol(agent)).outcome).toBe(then);
  });

  it('is refused by the agent when we do not know the secret', async () => {
    const agent = await receiver();
    const wrong = authority.enrolSecretFor('receiver', vmMigrationId, 2);
    await expect(enrol(agent, wrong)).rejects.toMatchObject({
      code: 'ENROLMENT_REFUSED',
      details: { agentCode: 'ENROL_PROOF_WRONG' },
    });
    expect(agent.certificate).toBeNull();
  });

  it('signs nothing for somebody who does not know the secret', async () => {
    const agent = await receiver({ faults: { wrongProof: true } });
    await expect(enrol(agent)).rejects.toMatchObject({ code: 'ENROLMENT_REFUSED' });
    expect(agent.certificate).toBeNull();
  });

  it('signs no key but the one of the connection', async () => {
    const agent = await receiver({ faults: { otherKeyInRequest: true } });
    await expect(enrol(agent)).rejects.toMatchObject({ code: 'CERTIFICATE_REQUEST_INVALID' });
    expect(agent.certificate).toBeNull();
  });

  it('refuses an agent of another role, of another name, and of another installation', async () => {
    const agent = await receiver();
    await expect(enrolAgent({ authority, endpoint: agent.endpoint, role: 'host', secret })).rejects.toMatchObject({
      code: 'ENROLMENT_REFUSED',
    });
    await enrol(agent);
    await expect(
      enrolAgent({ authority, endpoint: agent.endpoint, role: 'receiver', id: 'vmm_2', secret }),
    ).rejects.toMatchObject({ code: 'ENROLMENT_REFUSED' });
    await expect(enrol(agent, secret, foreignAuthority)).rejects.toMatchObject({ code: 'AGENT_FOREIGN' });
  });

  it('ends in time at an agent that is mute or not there, and at once when it is told to', async () => {
    const agent = await receiver({ faults: { mute: true } });
    const options = { authority, endpoint: agent.endpoint, role: 'receiver', id: vmMigrationId, secret } as const;
    await expect(enrolAgent({ ...options, timeoutMs: 100 })).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' });
    const reason = new Error('worker is shutting down');
    await expect(enrolAgent({ ...options, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 50);
    await expect(enrolAgent({ ...options, signal: controller.signal })).rejects.toBe(reason);
    await agent.close();
    await expect(enrolAgent(options)).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE', retry: 'retryable' });
  });

  it('never says the secret in an error', async () => {
    const agent = await receiver({ faults: { wrongProof: true } });
    const failure = (await enrol(agent).catch((error: unknown) => error)) as Error;
    expect(JSON.stringify(failure) + failure.message + String(failure.stack)).not.toContain(secret);
    await expect(enrol(agent, 'c2hvcnQ=')).rejects.toBeInstanceOf(TypeError);
  });
});

describe('a proof', () => {
  it('is worth nothing for another role, connection, key or secret', () => {
    const [key, exporter, spki] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2), Buffer.alloc(91, 3)];
    const proofs = [
      enrolProof(key, 'server', exporter, spki),
      enrolProof(key, 'agent', exporter, spki),
      enrolProof(key, 'server', Buffer.alloc(32, 9), spki),
      enrolProof(key, 'server', exporter, Buffer.alloc(91, 9)),
      enrolProof(Buffer.alloc(32, 9), 'server', exporter, spki),
    ].map((proof) => proof.toString('hex'));
    expect(new Set(proofs).size).toBe(proofs.length);
    expect(proofs[0]).toHaveLength(64);
  });
});

describe('renewal', () => {
  const renew = (agent: AgentStandIn, spkiSha256: string, by = authority): ReturnType<typeof renewAgent> =>
    renewAgent({ authority: by, endpoint: agent.endpoint, role: 'receiver', id: vmMigrationId, spkiSha256 });

  it('gives the same key a new certificate', async () => {
    const agent = await receiver();
    const { spkiSha256 } = await enrol(agent);
    const before = agent.certificate?.certificatePem;
    expect(await renew(agent, spkiSha256)).toMatchObject({ outcome: 'renewed', spkiSha256 });
    expect(agent.certificate?.certificatePem).not.toBe(before);
  });

  it('reaches an agent that was cut off until its certificate had ended, but no other key', async () => {
    const agent = await receiver();
    const { spkiSha256 } = await enrol(agent);
    const past = await openAuthority(join(folder, 'ours'), () => new Date(Date.now() - 8 * dayMs));
    const expired = await past.signRequest(await createRequest(agent.keys), { role: 'receiver', id: vmMigrationId });
    agent.certificate = { certificatePem: expired.certificatePem, authorityPem: authority.certificatePem };
    await expect(enrol(agent)).rejects.toMatchObject({ code: 'AGENT_CERTIFICATE_EXPIRED' });
    await expect(renew(agent, '00'.repeat(32))).rejects.toMatchObject({ code: 'ENROLMENT_REFUSED' });
    expect(await renew(agent, spkiSha256)).toMatchObject({ outcome: 'renewed', spkiSha256 });
    expect((await enrol(agent)).outcome).toBe('already-enrolled');
  });

  it('is not for agents that were never enrolled or belong to others', async () => {
    const agent = await receiver();
    await expect(renew(agent, fingerprintOf(agent.spkiDer))).rejects.toMatchObject({ code: 'AGENT_NOT_ENROLLED' });
    await enrol(agent);
    await expect(renew(agent, fingerprintOf(agent.spkiDer), foreignAuthority)).rejects.toMatchObject({
      code: 'AGENT_FOREIGN',
    });
  });
});
