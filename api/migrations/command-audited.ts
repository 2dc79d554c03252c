// Gives a command to a workflow and writes into the audit log who gave it and whether it was accepted or refused, as far as
// anybody knows.
// The workflow judges; only what has ended is refused here, because nothing is left to ask.
import { MigrationError, toMigrationError } from '../../core/index.ts';
import { recordAudit } from '../../db/index.ts';
import { isPassing } from '../http/problems.ts';
import type { HandlerContext } from '../http/route.ts';
import type { Commander } from './workflow-gateway.ts';

export interface Commanded {
  /** As the audit log calls it, such as `vm-migration.terminate`. */
  readonly action: string;
  readonly kind: 'migration' | 'vm-migration';
  readonly id: string;
  readonly endedAt: Date | null;
  /** What was asked for beside the action itself; never a secret. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export function commanderOf({ principal, claimId }: HandlerContext): Commander {
  return { principalId: principal.id, claimId };
}

export async function commandAudited(
  context: HandlerContext,
  target: Commanded,
  give: () => Promise<void>,
): Promise<void> {
  const { services, principal, requestId } = context;
  const record = (outcome: 'accepted' | 'refused' | 'unknown', details: Readonly<Record<string, unknown>>) =>
    recordAudit(services.database.prisma, {
      principalId: principal.id,
      action: target.action,
      targetKind: target.kind,
      targetId: target.id,
      outcome,
      requestId,
      details,
    });
  try {
    if (target.endedAt !== null)
      throw new MigrationError('ALREADY_ENDED', `${target.id} ended at ${target.endedAt.toISOString()}.`);
    await give();
  } catch (error) {
    const { code, safeMessage } = toMigrationError(error);
    await record(isPassing(error) ? 'unknown' : 'refused', { ...target.details, code, message: safeMessage });
    throw error;
  }
  await record('accepted', target.details ?? {});
}
