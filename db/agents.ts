/** Replicators that we may speak to: on source hosts and in shadow VMs. Their one-time secrets come from the authority and are kept nowhere. */
import type { Agent } from '../generated/prisma/client.ts';
import { found, type Db } from './database.ts';
import { newId } from './new-id.ts';

export type { Agent };
export type AgentRole = 'host' | 'receiver';

export interface NewAgent {
  readonly siteId: string;
  readonly role: AgentRole;
  /** Moref of the host; for a receiver the id of the VM's migration. */
  readonly moref: string;
  readonly name: string;
  readonly port: number;
  readonly address?: string;
  readonly vmMigrationId?: string;
}

/** Returns the agent of this place, made when it is not there: a repeated step gets the same id. */
export async function ensureAgent(db: Db, agent: NewAgent): Promise<Agent> {
  const { siteId, role, moref, ...rest } = agent;
  return db.agent.upsert({
    where: { siteId_role_moref: { siteId, role, moref } },
    create: { id: newId('agent'), siteId, role, moref, state: 'pending', ...rest },
    update: rest,
  });
}

export interface Enrolment {
  readonly address: string;
  readonly port: number;
  readonly spiffeId: string;
  readonly spkiSha256: string;
  readonly version: string;
  readonly certificateNotAfter: Date;
}

/** Records that the agent holds a certificate; its one-time secret is void. */
export function markEnrolled(db: Db, id: string, enrolment: Enrolment): Promise<Agent> {
  return db.agent.update({
    where: { id },
    data: { ...enrolment, state: 'enrolled', enrolledAt: new Date() },
  });
}

export async function getAgent(db: Db, id: string): Promise<Agent> {
  return found(await db.agent.findUnique({ where: { id } }), 'agent', id);
}

export function findAgent(db: Db, siteId: string, role: AgentRole, moref: string): Promise<Agent | null> {
  return db.agent.findUnique({ where: { siteId_role_moref: { siteId, role, moref } } });
}

export async function deleteAgent(db: Db, id: string): Promise<void> {
  await db.agent.deleteMany({ where: { id } });
}
