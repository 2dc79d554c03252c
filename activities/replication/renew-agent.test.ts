// When agents are renewed, and what happens when they cannot be: against a stand-in agent, inside an activity's context.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { enrolAgent, openAuthority, type Authority } from '../../dataplane/client/index.ts';
import type { Agent } from '../../db/index.ts';
import { startAgentStandIn, type AgentStandIn } from '../../test/helpers/agent-stand-in.ts';
import type { Services } from '../services.ts';
import { renewIfDue } from './renew-agent.ts';

const dayMs = 24 * 60 * 60_000;
let folder: string;
let authority: Authority;
let standIn: AgentStandIn;
let recorded: Partial<Agent>[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'landfall-renew-test-'));
  authority = await openAuthority(folder);
  const secret = authority.enrolSecretFor('receiver', 'vmm_1', 1);
  standIn = await startAgentStandIn({ role: 'receiver', agentId: 'agent-1', secret });
  await enrolAgent({ authority, endpoint: standIn.endpoint, role: 'receiver', id: 'vmm_1', secret });
  recorded = [];
});
afterEach(async () => {
  await standIn.close();
  await rm(folder, { recursive: true });
});

/** Renews as an activity does, for an agent whose record says that its certificate ends in so many days. */
function renew(endsInDays: number): Promise<void> {
  const { address, port } = standIn.endpoint;
  const agent = {
    id: 'agent_1',
    role: 'receiver',
    address,
    port,
    spiffeId: `spiffe://landfall/${authority.installationId}/receiver/vmm_1`,
    spkiSha256: standIn.spkiSha256,
    certificateNotAfter: new Date(Date.now() + endsInDays * dayMs),
  };
  const update = ({ data }: { data: Partial<Agent> }): Promise<void> => {
    recorded.push(data);
    return Promise.resolve();
  };
  const services = { authority, database: { prisma: { agent: { update } } } } as unknown as Services;
  return new MockActivityEnvironment().run(() => renewIfDue(services, agent as Agent));
}

it('leaves a young certificate alone', async () => {
  const before = standIn.connections();
  await renew(6);
  expect(standIn.connections()).toBe(before);
});

it('renews one that is three days old and records the new end', async () => {
  await renew(3.9);
  expect(recorded).toHaveLength(1);
  expect(recorded[0]?.certificateNotAfter?.getTime()).toBeGreaterThan(Date.now() + 6.9 * dayMs);
});

it('goes on without, while the old one is in force; gives the reason when it is not', async () => {
  await standIn.close();
  await renew(1);
  await expect(renew(-1)).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' });
  expect(recorded).toEqual([]);
});
