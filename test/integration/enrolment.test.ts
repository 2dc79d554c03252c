// Enrolment of the real replicator, as host daemon and as receiver: repeated, cut off, killed, raced, and attacked.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connectAgent, openHttpOver, requestJson } from '../../dataplane/client/agent-connection.ts';
import { enrolProof } from '../../dataplane/client/enrol.ts';
import {
  enrolAgent,
  hasAgentCode,
  openAuthority,
  openControlClient,
  renewAgent,
} from '../../dataplane/client/index.ts';
import type { AgentEndpoint, Authority, Enrolment, TlsIdentity } from '../../dataplane/client/index.ts';
import { createKeys } from '../../dataplane/client/x509.ts';
import { createRequest } from '../helpers/certificates.ts';
import { hostProcess, receiverProcess } from '../helpers/replicator-process.ts';
import type { HostProcess, ReceiverProcess, ReplicatorProcess } from '../helpers/replicator-process.ts';

const dayMs = 24 * 60 * 60_000;
const vmMigrationId = 'vmm_enrolment';
let folder: string;
let authority: Authority;
let foreignAuthority: Authority;
let secret: string;
let running: ReplicatorProcess[] = [];
let next = 1;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'landfall-enrolment-'));
  authority = await openAuthority(join(folder, 'authority'));
  foreignAuthority = await openAuthority(join(folder, 'foreign-authority'));
  secret = authority.enrolSecretFor('receiver', vmMigrationId, 1);
});
afterEach(async () => {
  await Promise.all(running.map((agent) => agent.kill()));
  running = [];
});
afterAll(() => rm(folder, { recursive: true }));

/** Every agent listens at an address of its own. */
const freshEndpoint = (port: number): AgentEndpoint => ({ address: `127.71.1.${next++}`, port });

async function startHost(options: Record<string, string> = { 'Landfall.EnrolSecret': secret }): Promise<HostProcess> {
  const endpoint = freshEndpoint(32873);
  const host = await hostProcess(await mkdtemp(join(folder, 'host-')), endpoint);
  running.push(host);
  await host.setOptions(options);
  await host.start();
  return host;
}

async function startReceiver(): Promise<ReceiverProcess> {
  const { installationId, certificatePem: authorityPem } = authority;
  const receiver = await receiverProcess(await mkdtemp(join(folder, 'receiver-')), freshEndpoint(32875), {
    installationId,
    agentId: 'agent-enrolment',
    vmMigrationId,
    authorityPem,
    enrolSecret: secret,
  });
  running.push(receiver);
  await receiver.start();
  return receiver;
}

const enrolReceiver = (agent: ReplicatorProcess, given = secret, by = authority): Promise<Enrolment> =>
  enrolAgent({ authority: by, endpoint: agent.endpoint, role: 'receiver', id: vmMigrationId, secret: given });
const enrolHost = (agent: ReplicatorProcess, given = secret): Promise<Enrolment> =>
  enrolAgent({ authority, endpoint: agent.endpoint, role: 'host', secret: given });

/** The first half of an enrolment, by hand; `during` runs while the agent waits for the second. */
async function halfEnrol<T>(
  agent: ReplicatorProcess,
  during: (complete: () => Promise<unknown>) => Promise<T>,
): Promise<T> {
  const { endpoint } = agent;
  const limits = { timeoutMs: 5_000 };
  const identity = await authority.managementIdentity();
  const { socket, peer } = await connectAgent({
    endpoint,
    authorityPem: authority.certificatePem,
    identity,
    ...limits,
  });
  const http = openHttpOver(endpoint, socket);
  try {
    const exporter = socket.exportKeyingMaterial(32, 'EXPORTER-landfall-enrol', Buffer.alloc(0));
    const proof = enrolProof(Buffer.from(secret, 'base64'), 'server', exporter, peer.certificate.spkiDer).toString(
      'base64',
    );
    const body = { proof };
    const begun = await requestJson(http, endpoint, { method: 'POST', path: '/v1/enrol/begin', body, ...limits });
    return await during(async () => {
      const { csrPem } = begun as { csrPem: string };
      const { certificatePem } = await authority.signRequest(csrPem, { role: 'receiver', id: vmMigrationId });
      const certificates = { certificatePem, authorityPem: authority.certificatePem };
      return requestJson(http, endpoint, { method: 'POST', path: '/v1/enrol/complete', body: certificates, ...limits });
    });
  } finally {
    await http.destroy();
    socket.destroy();
  }
}

describe('a host', () => {
  it('is enrolled by the secret in its options, stays so over a restart, and tells its secret nowhere', async () => {
    const host = await startHost();
    const first = await enrolHost(host);
    expect(first.outcome).toBe('enrolled');
    const client = openControlClient({ authority, endpoint: host.endpoint, spiffeId: first.spiffeId });
    expect(await client.getAgent()).toMatchObject({ role: 'host', agentId: first.agentId, enrolled: true });
    expect(await client.listVms()).toEqual([]);
    await host.kill();
    await host.start();
    expect(await client.listVms()).toEqual([]);
    expect(await enrolHost(host)).toMatchObject({ outcome: 'already-enrolled', spkiSha256: first.spkiSha256 });
    expect(host.output()).not.toContain(secret);
    await client.close();
  });

  it('takes a secret that is set while it runs, and says when there is none', async () => {
    const host = await startHost({});
    const failure: unknown = await enrolHost(host).catch((error: unknown) => error);
    expect(hasAgentCode(failure, 'ENROL_SECRET_MISSING')).toBe(true);
    expect(failure).toMatchObject({ retry: 'retryable' });
    await host.setOptions({ 'Landfall.EnrolSecret': secret });
    expect((await enrolHost(host)).outcome).toBe('enrolled');
  });

  it('answers unknown jobs with a code', async () => {
    const host = await startHost();
    const { spiffeId } = await enrolHost(host);
    const client = openControlClient({ authority, endpoint: host.endpoint, spiffeId });
    const failure: unknown = await client.getJob('vmm_unknown').catch((error: unknown) => error);
    expect(hasAgentCode(failure, 'UNKNOWN_JOB')).toBe(true);
    await client.close();
  });
});

describe('a host that changes hands', () => {
  it('goes to another installation by a new secret only, and obeys the first no more', async () => {
    const host = await startHost();
    const first = await enrolHost(host);
    const taken = foreignAuthority.enrolSecretFor('host', 'any', 1);
    const { endpoint } = host;
    const take = (): Promise<Enrolment> =>
      enrolAgent({ authority: foreignAuthority, endpoint, role: 'host', secret: taken });
    await expect(take()).rejects.toMatchObject({ code: 'AGENT_FOREIGN' });
    await host.setOptions({ 'Landfall.EnrolSecret': '' });
    await expect(take()).rejects.toMatchObject({ code: 'AGENT_FOREIGN' });
    await host.setOptions({ 'Landfall.EnrolSecret': taken });
    expect(await take()).toMatchObject({ outcome: 'enrolled', agentId: first.agentId });
    const client = openControlClient({ authority, endpoint, spiffeId: first.spiffeId });
    await expect(client.listVms()).rejects.toMatchObject({ code: 'AGENT_FOREIGN' });
    await client.close();
  });
});

describe('a receiver', () => {
  it('is enrolled, shows its disks, and names the one that is missing', async () => {
    const receiver = await startReceiver();
    const { spiffeId } = await enrolReceiver(receiver);
    const client = openControlClient({ authority, endpoint: receiver.endpoint, spiffeId });
    const pair = {
      sourceUuid: '6000c29b-1f2e-4d3c-8b7a-000000000001',
      destinationUuid: '6000c29b-1f2e-4d3c-8b7a-0000000000f1',
      capacityBytes: String(16 * 1024 * 1024),
    };
    await expect(client.prepareDisks(1, [pair])).rejects.toMatchObject({ code: 'DISK_MISSING', retry: 'retryable' });
    await receiver.addDisk(pair.destinationUuid, Number(pair.capacityBytes));
    const status = await client.prepareDisks(1, [pair]);
    expect(status).toMatchObject({ vmMigrationId, ownership: { state: 'none' } });
    expect(status.disks).toMatchObject([
      { destinationUuid: pair.destinationUuid, present: true, capacityBytes: pair.capacityBytes },
    ]);
    await client.close();
  });

  it('killed between begin and complete, is enrolled by the next try', async () => {
    const receiver = await startReceiver();
    await halfEnrol(receiver, async (complete) => {
      await receiver.kill();
      await expect(complete()).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' });
    });
    await receiver.start();
    expect((await enrolReceiver(receiver)).outcome).toBe('enrolled');
  });

  it('killed right after complete, is enrolled all the same', async () => {
    const receiver = await startReceiver();
    const first = await enrolReceiver(receiver);
    await receiver.kill();
    await receiver.start();
    expect(await enrolReceiver(receiver)).toMatchObject({ outcome: 'already-enrolled', spkiSha256: first.spkiSha256 });
  });

  it('killed at any moment of its enrolment, comes back with its key and is enrolled', async () => {
    const measured = await startReceiver();
    const beganAtMs = performance.now();
    await enrolReceiver(measured);
    const wholeMs = performance.now() - beganAtMs;
    for (let part = 0; part <= 1.1; part += 0.1) {
      const receiver = await startReceiver();
      const attempt = enrolReceiver(receiver).then(
        ({ spkiSha256 }) => spkiSha256,
        () => null,
      );
      await sleep(part * wholeMs);
      await receiver.kill();
      const before = await attempt;
      await receiver.start();
      const { outcome, spkiSha256 } = await enrolReceiver(receiver);
      if (before !== null) expect([outcome, spkiSha256]).toEqual(['already-enrolled', before]);
      await receiver.kill();
    }
  });

  it('enrolled by somebody else between begin and complete, refuses the second or keeps one name and key', async () => {
    const receiver = await startReceiver();
    await halfEnrol(receiver, async (complete) => {
      const other = await enrolReceiver(receiver);
      expect(other.outcome).toBe('enrolled');
      await complete().catch(() => undefined);
      expect(await enrolReceiver(receiver)).toMatchObject({
        outcome: 'already-enrolled',
        spkiSha256: other.spkiSha256,
      });
    });
  });

  it('enrolled by many at once, ends with one certificate that all of them see', async () => {
    const receiver = await startReceiver();
    const tries = await Promise.allSettled(Array.from({ length: 6 }, () => enrolReceiver(receiver)));
    expect(tries.some(({ status }) => status === 'fulfilled')).toBe(true);
    for (const result of tries) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ retry: 'retryable' });
    }
    expect((await enrolReceiver(receiver)).outcome).toBe('already-enrolled');
  });

  it('refuses a wrong secret as often as it comes, and then takes the right one', async () => {
    const receiver = await startReceiver();
    const wrong = authority.enrolSecretFor('receiver', vmMigrationId, 2);
    for (let attempt = 0; attempt < 3; attempt += 1) {
      await expect(enrolReceiver(receiver, wrong)).rejects.toMatchObject({ code: 'ENROLMENT_REFUSED' });
    }
    expect((await enrolReceiver(receiver)).outcome).toBe('enrolled');
  });

  it('takes no complete without a begin on the same connection', async () => {
    const receiver = await startReceiver();
    await halfEnrol(receiver, async () => {
      const { endpoint } = receiver;
      const identity = await authority.managementIdentity();
      const { socket } = await connectAgent({
        endpoint,
        authorityPem: authority.certificatePem,
        identity,
        timeoutMs: 5_000,
      });
      const http = openHttpOver(endpoint, socket);
      const certificatePem = authority.certificatePem;
      const body = { certificatePem, authorityPem: certificatePem };
      const request = { method: 'POST', path: '/v1/enrol/complete', body, timeoutMs: 5_000 } as const;
      const failure: unknown = await requestJson(http, endpoint, request).catch((error: unknown) => error);
      expect(hasAgentCode(failure, 'ENROL_NOT_BEGUN')).toBe(true);
      await http.destroy();
    });
    expect((await enrolReceiver(receiver)).outcome).toBe('enrolled');
  });

  it('obeys nobody but the management server of its own installation', async () => {
    const receiver = await startReceiver();
    const { spiffeId } = await enrolReceiver(receiver);
    await expect(enrolReceiver(receiver, secret, foreignAuthority)).rejects.toMatchObject({ code: 'AGENT_FOREIGN' });

    const keys = await createKeys();
    const request = await createRequest(keys.keys);
    const source = await authority.signRequest(request, { role: 'source', id: vmMigrationId });
    const asSource: TlsIdentity = { ...source, privateKeyPem: keys.privateKeyPem };
    const posing = { ...authority, managementIdentity: async () => asSource };
    const client = openControlClient({ authority: posing, endpoint: receiver.endpoint, spiffeId });
    const failure: unknown = await client.getReceiver().catch((error: unknown) => error);
    expect(hasAgentCode(failure, 'FORBIDDEN')).toBe(true);
    await client.close();

    const foreignIdentity = { ...authority, managementIdentity: () => foreignAuthority.managementIdentity() };
    const foreign = openControlClient({ authority: foreignIdentity, endpoint: receiver.endpoint, spiffeId });
    await expect(foreign.getReceiver()).rejects.toMatchObject({
      code: expect.stringMatching(/AGENT_FOREIGN|AGENT_UNREACHABLE/) as string,
    });
    await foreign.close();
  });

  it('answers nobody without a certificate once it is enrolled', async () => {
    const receiver = await startReceiver();
    const { spiffeId } = await enrolReceiver(receiver);
    const anonymous = {
      ...authority,
      managementIdentity: async () => ({ certificatePem: '', privateKeyPem: '', notAfter: new Date() }),
    };
    const client = openControlClient({ authority: anonymous, endpoint: receiver.endpoint, spiffeId });
    await expect(client.getAgent()).rejects.toMatchObject({
      code: expect.stringMatching(/AGENT_FOREIGN|AGENT_UNREACHABLE/) as string,
    });
    await client.close();
  });

  it('is renewed with the key it has, also after its certificate has ended', async () => {
    const receiver = await startReceiver();
    const lifeMs = 6_000;
    const long = await openAuthority(join(folder, 'authority'), () => new Date(Date.now() - 7 * dayMs + lifeMs));
    const short = { ...long, managementIdentity: () => authority.managementIdentity() };
    const { spkiSha256, notAfter, spiffeId } = await enrolReceiver(receiver, secret, short);
    const { endpoint } = receiver;
    const renew = (pinned: string): Promise<Enrolment> =>
      renewAgent({ authority, endpoint, role: 'receiver', id: vmMigrationId, spkiSha256: pinned });
    await sleep(notAfter.getTime() - Date.now() + 1_000);
    const client = openControlClient({ authority, endpoint, spiffeId });
    await expect(client.getReceiver()).rejects.toMatchObject({ code: 'AGENT_CERTIFICATE_EXPIRED' });
    await expect(renew('00'.repeat(32))).rejects.toMatchObject({ code: 'ENROLMENT_REFUSED' });
    expect(await renew(spkiSha256)).toMatchObject({ outcome: 'renewed', spkiSha256 });
    expect(await client.getReceiver()).toMatchObject({ vmMigrationId });
    expect(await renew(spkiSha256)).toMatchObject({ outcome: 'renewed', spkiSha256 });
    await receiver.kill();
    await receiver.start();
    expect((await enrolReceiver(receiver)).notAfter.getTime()).toBeGreaterThan(Date.now() + 6 * dayMs);
    await client.close();
  });
});
