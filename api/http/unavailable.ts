// Tells a workflow engine that is away from a fault of ours, by codes and never by text.
import { ServiceError, isGrpcServiceError } from '@temporalio/client';

/** gRPC: DEADLINE_EXCEEDED, UNAVAILABLE. */
const grpcAway = new Set([4, 14]);

export function isWorkflowEngineAway(error: unknown): boolean {
  if (error instanceof ServiceError) return error.cause === undefined || isGrpcAway(error.cause);
  return isGrpcAway(error);
}

function isGrpcAway(error: unknown): boolean {
  return isGrpcServiceError(error) && grpcAway.has(error.code);
}
