// The control client against a stand-in agent: who it speaks to, what it sends, and what refusals and cuts become.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { refusal, startAgentStandIn } from '../../test/helpers/agent-stand-in.ts';
import type { AgentStandIn, StandInAnswer } from '../../test/helpers/agent-stand-in.ts';
import { hasAgentCode } from './agent-errors.ts';
import { openAuthority } from './authority.ts';
import type { Authority } from './authority.ts';
import { openControlClient } from './control-client.ts';
import type { ControlClient } from './control-client.ts';
import { enrolAgent } from './enrol.ts';

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

let folder: string;
let authority: Authority;
let agent: AgentStandIn;
let client: ControlClient;
let spiffeId: string;
let seen: Seen[];
let next: StandInAnswer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'landfall-control-test-'));
  authority = await openAuthority(join(folder, 'ours'));
});
beforeEach(async () => {
  seen = [];
  next = { status: 200, json: {} };
  const secret = authority.enrolSecretFor('host', 'any', 1);
  agent = await startAgentStandIn({
    role: 'host',
    agentId: 'host-1',
    secret,
    answer: (method, path, body) => {
      seen.push({ method, path, body });
      return next;
    },
  });
  ({ spiffeId } = await enrolAgent({ authority, endpoint: agent.endpoint, role: 'host', secret }));
  client = openControlClient({ authority, endpoint: agent.endpoint, spiffeId, requestTimeoutMs: 1_000 });
});
afterEach(async () => {
  await client.close();
  await agent.close();
});
afterAll(() => rm(folder, { recursive: true }));

describe('the control client', () => {
  it('says every command as the control API wants it', async () => {
    const disk = { sourceUuid: 's', destinationUuid: 'd', capacityBytes: '1048576' };
    const spec = { kind: 'replicate' as const, vmUuid: 'v', generation: 3, vmMigrationId: 'vmm_1', disks: [disk] };
    const dials = { replicationRate: 50, writeThrottling: 0, bytesPerSecondMax: '1000', addedWriteLatencyMsMax: null };
    const certificate = { generation: 3, certificatePem: 'c', authorityPem: 'a' };
    await client.listVms();
    await client.ensureJob('job/1', spec);
    await client.putCertificate('j', certificate);
    await client.getJob('j');
    next = { status: 200, json: { inForce: dials } };
    expect(await client.setDials('j', 3, dials)).toEqual(dials);
    await client.pause('j', 3);
    await client.resume('j', 3);
    await client.freeze('j', 3, 1);
    await client.handOver('j', 3, 1);
    await client.unfreeze('j', 3, 1);
    await client.getReceiver();
    await client.prepareDisks(3, [disk]);
    next = { status: 204, json: undefined };
    await client.deleteJob('j', 3);
    expect(seen).toEqual([
      { method: 'GET', path: '/v1/vms', body: null },
      { method: 'PUT', path: '/v1/jobs/job%2F1', body: spec },
      { method: 'PUT', path: '/v1/jobs/j/certificate', body: certificate },
      { method: 'GET', path: '/v1/jobs/j', body: null },
      { method: 'PUT', path: '/v1/jobs/j/dials', body: { ...dials, generation: 3 } },
      { method: 'POST', path: '/v1/jobs/j/pause', body: { generation: 3 } },
      { method: 'POST', path: '/v1/jobs/j/resume', body: { generation: 3 } },
      { method: 'POST', path: '/v1/jobs/j/freeze', body: { generation: 3, token: 1 } },
      { method: 'POST', path: '/v1/jobs/j/hand-over', body: { generation: 3, token: 1 } },
      { method: 'POST', path: '/v1/jobs/j/unfreeze', body: { generation: 3, token: 1 } },
      { method: 'GET', path: '/v1/receiver', body: null },
      { method: 'PUT', path: '/v1/receiver/disks', body: { generation: 3, disks: [disk] } },
      { method: 'DELETE', path: '/v1/jobs/j?generation=3', body: null },
    ]);
    expect(agent.connections()).toBe(2);
  });

  it('goes on over a new connection when the agent was restarted', async () => {
    expect(await client.getAgent()).toMatchObject({ role: 'host', agentId: 'host-1', enrolled: true });
    agent.dropConnections();
    await Promise.all([client.getAgent(), client.getAgent(), client.getJob('j')]);
  });

  it('turns a refusal into the product’s error, keeping code, remedy and retry class of the agent', async () => {
    next = refusal(409, 'STALE_GENERATION');
    await expect(client.pause('j', 1)).rejects.toMatchObject({
      code: 'STALE_GENERATION',
      retry: 'permanent',
      remedy: 'Remedy.',
    });
    next = refusal(404, 'UNKNOWN_JOB', 'retryable');
    const failure: unknown = await client.getJob('j').catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'REPLICATOR_REFUSED', retry: 'retryable', message: 'detail of UNKNOWN_JOB' });
    expect(hasAgentCode(failure, 'UNKNOWN_VM', 'UNKNOWN_JOB')).toBe(true);
    expect(hasAgentCode(failure, 'UNKNOWN_VM')).toBe(false);
    next = {
      status: 409,
      json: { code: 'DISK_SEALED', detail: `\u001b[31m\n${'x'.repeat(9_000)}`, retry: 'whenever' },
    };
    const sealed = (await client.freeze('j', 1, 1).catch((error: unknown) => error)) as Error;
    expect(sealed).toMatchObject({ code: 'DISK_SEALED', retry: 'permanent' });
    expect(sealed.message).toMatch(/^ \[31m x{400,}$/);
    expect(sealed.message.length).toBeLessThanOrEqual(500);
  });

  it('follows a job line by line over a connection of its own', async () => {
    const given: unknown[] = [];
    next = { status: 200, json: null, pieces: ['{"epoch":1}\n{"epo', 'ch":2}\n{"epoch":3'] };
    await client.followJob('job/1', (status) => given.push(status.epoch));
    expect(given).toEqual([1, 2]);
    expect(seen.map(({ path }) => path)).toEqual(['/v1/jobs/job%2F1/events']);

    const stop = new AbortController();
    next = { status: 200, json: null, pieces: ['{"epoch":4}\n'], goesOn: true };
    const followed = client.followJob('j', () => stop.abort(new Error('enough')), { signal: stop.signal });
    await expect(followed).rejects.toThrow('enough');

    next = { status: 200, json: null, pieces: ['{"epoch":5}\nnothing\n'], goesOn: true };
    await expect(client.followJob('j', () => undefined)).rejects.toMatchObject({ code: 'AGENT_ANSWER_INVALID' });
    next = { status: 200, json: null, pieces: ['{"epoch":6}\n'], goesOn: true };
    const cut = client.followJob('j', () => agent.dropConnections());
    await expect(cut).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' });
    next = refusal(404, 'UNKNOWN_JOB');
    const refused: unknown = await client.followJob('j', () => undefined).catch((error: unknown) => error);
    expect(hasAgentCode(refused, 'UNKNOWN_JOB')).toBe(true);
  });

  it.each([
    { status: 502, json: '<html>', code: 'AGENT_ANSWER_INVALID', retry: 'retryable' },
    { status: 404, json: {}, code: 'AGENT_ANSWER_INVALID', retry: 'permanent' },
    { status: 200, json: 'text', code: 'AGENT_ANSWER_INVALID', retry: 'permanent' },
    { status: 200, json: { endless: 'x'.repeat(9 * 1024 * 1024) }, code: 'AGENT_ANSWER_INVALID', retry: 'permanent' },
  ])('refuses an answer that is none ($status)', async ({ status, json, code, retry }) => {
    next = { status, json };
    await expect(client.getJob('j')).rejects.toMatchObject({ code, retry });
  });

  it('ends a call in time, or when it is told to', async () => {
    agent.faults.mute = true;
    const impatient = openControlClient({
      authority,
      endpoint: agent.endpoint,
      spiffeId,
      requestTimeoutMs: 100,
      connectTimeoutMs: 100,
    });
    await expect(impatient.getAgent()).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE', retry: 'retryable' });
    const reason = new Error('cancelled');
    await expect(impatient.getAgent({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await impatient.close();
  });

  it('speaks to nobody but the agent it was opened for', async () => {
    const other = openControlClient({ authority, endpoint: agent.endpoint, spiffeId: `${spiffeId}x` });
    await expect(other.getAgent()).rejects.toMatchObject({ code: 'ENROLMENT_REFUSED' });
    const foreign = openControlClient({
      authority: await openAuthority(join(folder, 'foreign')),
      endpoint: agent.endpoint,
      spiffeId,
    });
    await expect(foreign.getAgent()).rejects.toMatchObject({ code: 'AGENT_FOREIGN' });
    agent.certificate = null;
    const unenrolled = openControlClient({ authority, endpoint: agent.endpoint, spiffeId });
    await expect(unenrolled.getAgent()).rejects.toMatchObject({ code: 'AGENT_NOT_ENROLLED' });
    expect(seen).toEqual([]);
    await Promise.all([other.close(), foreign.close(), unenrolled.close()]);
  });
});
