// Tells a peer that is away (database, workflow engine) from a fault of ours, by codes and never by text.
import { ServiceError, isGrpcServiceError } from '@temporalio/client';

const networkCodes = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EHOSTUNREACH']);
/** Postgres: shutting down, starting up, too many connections, connection lost. Prisma: P1001, P1002, P1008, P1017. */
const databaseCodes = new Set([
  '57P01',
  '57P02',
  '57P03',
  '53300',
  '08006',
  '08001',
  'P1001',
  'P1002',
  'P1008',
  'P1017',
]);
/** gRPC: DEADLINE_EXCEEDED, UNAVAILABLE. */
const grpcAway = new Set([4, 14]);

export function isWorkflowEngineAway(error: unknown): boolean {
  if (error instanceof ServiceError) return error.cause === undefined || isGrpcAway(error.cause);
  return isGrpcAway(error);
}

export function isDatabaseAway(error: unknown): boolean {
  if (isGrpcServiceError(error)) return false;
  return chainOf(error).some((link) => {
    const code = codeOf(link);
    return code !== undefined && (databaseCodes.has(code) || networkCodes.has(code));
  });
}

function isGrpcAway(error: unknown): boolean {
  return isGrpcServiceError(error) && grpcAway.has(error.code);
}

function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** The error and what it says to come from: causes, parts of an aggregate, and what the database adapter met. */
function chainOf(error: unknown, depth = 0): unknown[] {
  if (typeof error !== 'object' || error === null || depth > 8) return [];
  const { cause, meta, errors } = error as {
    cause?: unknown;
    meta?: { driverAdapterError?: unknown };
    errors?: unknown;
  };
  const parts: unknown[] = [cause, meta?.driverAdapterError, ...(Array.isArray(errors) ? (errors as unknown[]) : [])];
  return [error, ...parts.flatMap((part) => chainOf(part, depth + 1))];
}
