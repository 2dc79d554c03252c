/**
 * What every activity gets: heartbeats by themselves, its errors as our codes without foreign text, a line
 * in the log, and trouble that goes on shown in the records, so that a waiting step names what it waits for.
 */
import type { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import type { Logger } from 'pino';
import { isMigrationError, toMigrationError, type MigrationError } from '../core/index.ts';
import { noteTrouble } from '../db/index.ts';
import { toApplicationFailure } from '../temporal/index.ts';
import type { Services } from './services.ts';

/** A third of the shortest heartbeat limit. */
const heartbeatEveryMs = 3000;
/** The first failures are noise; from here on people are told. */
const shownFromAttempt = 2;

export function activityInterceptor(services: Services, log: Logger): ActivityInterceptorsFactory {
  return (context) => ({
    inbound: {
      async execute(input, next) {
        const { activityType, attempt, workflowExecution } = context.info;
        const logger = log.child({ activity: activityType, workflowId: workflowExecution?.workflowId, attempt });
        const beat = setInterval(() => context.heartbeat(), heartbeatEveryMs);
        try {
          return await next(input);
        } catch (error) {
          if (isCancelled(context, error)) throw new CancelledFailure('cancelled', undefined, error as Error);
          if (error instanceof ApplicationFailure) throw error;
          const known = toMigrationError(error);
          report(logger, error, known);
          await tell(services, input.args[0], attempt, known);
          throw toApplicationFailure(known);
        } finally {
          clearInterval(beat);
        }
      },
    },
  });
}

/** Calls that were cut short by our signal fail in many ways; all of them mean that. */
function isCancelled(context: Context, error: unknown): boolean {
  return error instanceof CancelledFailure || context.cancellationSignal.aborted;
}

/** Unknown errors are bugs: their stack goes to the log, never to the history or to a person. */
function report(log: Logger, error: unknown, known: MigrationError): void {
  if (isMigrationError(error)) log.warn({ code: known.code, details: known.details }, known.safeMessage);
  else log.error({ err: error }, 'An activity failed unexpectedly');
}

async function tell(services: Services, argument: unknown, attempt: number, error: MigrationError): Promise<void> {
  const vmMigrationId = (argument as { vmMigrationId?: unknown } | undefined)?.vmMigrationId;
  if (typeof vmMigrationId !== 'string' || attempt < shownFromAttempt || error.retry !== 'retryable') return;
  const trouble = { code: error.code, message: error.safeMessage };
  await noteTrouble(services.database, vmMigrationId, trouble).catch(() => undefined);
}
