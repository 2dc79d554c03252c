// Adds VMs to the queue of an independent migration that runs. Checked and written like those of a new one; then the workflow
// is told, by this request or by a later round: telling it twice changes nothing.
import { MigrationError, isMigrationError, isRetryable, type Destination } from '../../core/index.ts';
import {
  createMember,
  deleteMembers,
  getMigration,
  listUnannounced,
  recordAudit,
  setAnnounced,
  setPhase,
  type MigrationWithMembers,
} from '../../db/index.ts';
import type { HandlerContext } from '../http/route.ts';
import type { Services } from '../services.ts';
import { checkDestination } from './check-destination.ts';
import { checkSources, type CheckedSource } from './check-sources.ts';

export async function addMembers(
  id: string,
  vms: readonly { readonly siteId: string; readonly moref: string }[],
  context: HandlerContext,
): Promise<MigrationWithMembers> {
  const { services, claimId } = context;
  const before = await getMigration(services.database.prisma, id);
  const claimed = new Set(claimId === null ? [] : vms.map((_vm, index) => claimedMemberId(claimId, index)));
  const made = before.vmMigrations.map((member) => member.id).filter((member) => claimed.has(member));
  // A repeat, after a process that died between the records and its answer.
  if (made.length > 0) return announceNow(id, made, context);
  if (before.endedAt !== null) throw new MigrationError('ALREADY_ENDED', `${id} has ended.`);
  if (before.kind !== 'independent') throw new MigrationError('PHASE_DISALLOWS', 'A group cannot grow.');
  const destination = before.destination as unknown as Destination;
  const wanted = { vms: [...vms], destination: { ...destination, networks: [...destination.networks] } };
  const sources = await checkSources(wanted, services);
  await checkDestination(wanted, sources, services);
  return announceNow(id, await writeMembers(id, destination.siteId, sources, context), context);
}

/** The id of a member that is added under a claim: the same in every repeat. */
export function claimedMemberId(claimId: string, index: number): string {
  // A claim's last twelve digits are random; counting in them makes members differ.
  const tail = BigInt(`0x${claimId.slice(-12)}`) ^ BigInt(index);
  return `vmm_${claimId.slice(0, -12)}${tail.toString(16).padStart(12, '0')}`;
}

async function writeMembers(
  id: string,
  destinationSiteId: string,
  sources: readonly CheckedSource[],
  { services, principal, requestId, claimId }: HandlerContext,
): Promise<string[]> {
  return services.database.transaction(async (db) => {
    await db.$executeRaw`SELECT 1 FROM migration WHERE id = ${id} FOR UPDATE`;
    const { vmMigrations } = await getMigration(db, id);
    const end = Math.max(-1, ...vmMigrations.map(({ position }) => position)) + 1;
    const ids: string[] = [];
    for (const [index, { member }] of sources.entries()) {
      const claimed = claimId === null ? {} : { id: claimedMemberId(claimId, index) };
      ids.push(await createMember(db, id, destinationSiteId, member, end + index, { ...claimed, announced: false }));
    }
    await recordAudit(db, {
      principalId: principal.id,
      action: 'migration.add-members',
      targetKind: 'migration',
      targetId: id,
      outcome: 'accepted',
      requestId,
      details: { members: ids },
    });
    return ids;
  });
}

/** Tells the queue now if it can be told; a refusal leaves nothing of the new members behind. */
async function announceNow(
  id: string,
  added: readonly string[],
  context: HandlerContext,
): Promise<MigrationWithMembers> {
  const { services, principal, log } = context;
  try {
    await announceMembers(services, id, principal.id);
  } catch (error) {
    if (isRefusal(error)) {
      await forgetMembers(context, id, added, error);
      throw error;
    }
    log.warn({ err: error }, 'the queue could not be told of its new members; it is told again');
  }
  return getMigration(services.database.prisma, id);
}

/** Tells a queue of the members that it has not heard of. An answer that was lost says nothing about what it did. */
async function announceMembers({ database, workflows }: Services, id: string, principalId: string): Promise<void> {
  const { prisma } = database;
  const ids = (await listUnannounced(prisma, id)).map((row) => row.id);
  if (ids.length === 0) return;
  await workflows.changeQueue(id, { kind: 'add', ids }, { principalId, claimId: null });
  await setAnnounced(prisma, ids);
}

/**
 * For a later round: what a request, or a process that died, did not come to tell. They may have been told and taken up, so
 * a refusal ends those that have not begun, and forgets none.
 */
export async function announceAgain(services: Services, id: string): Promise<void> {
  const { database } = services;
  try {
    await announceMembers(services, id, 'installation');
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const rows = await listUnannounced(database.prisma, id);
    const reason = { code: error.code, message: error.safeMessage, since: services.now().toISOString() };
    for (const row of rows) {
      await setPhase(database, row.id, { step: 'ended', state: 'Terminated', reason, onlyDuring: ['queued'] });
    }
    const ids = rows.map((row) => row.id);
    await setAnnounced(database.prisma, ids);
  }
}

/** A definite no of the workflow, in contrast to an answer that did not come. */
function isRefusal(error: unknown): error is MigrationError {
  return isMigrationError(error) && !isRetryable(error);
}

async function forgetMembers(
  { services, principal, requestId }: HandlerContext,
  id: string,
  members: readonly string[],
  { code, safeMessage }: MigrationError,
): Promise<void> {
  await services.database.transaction(async (db) => {
    await deleteMembers(db, members);
    await recordAudit(db, {
      principalId: principal.id,
      action: 'migration.add-members',
      targetKind: 'migration',
      targetId: id,
      outcome: 'refused',
      requestId,
      details: { code, message: safeMessage, members },
    });
  });
}
