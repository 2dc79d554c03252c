/** Connects to the workflow engine, and turns its refusals into the product's errors. Never used by workflow code. */
import { Client, Connection, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { MigrationError, isErrorCode } from '../core/index.ts';
import { encryptingConverter } from './payload-codec.ts';
import type { PayloadKeyring } from './payload-keys.ts';

export interface WorkflowEngine {
  readonly client: Client;
  close(): Promise<void>;
}

/** Throws WORKFLOW_ENGINE_UNAVAILABLE when nobody answers in time. */
export async function connectWorkflowEngine(address: string, keys: PayloadKeyring): Promise<WorkflowEngine> {
  try {
    const connection = await Connection.connect({ address, connectTimeout: '5 seconds' });
    const client = new Client({ connection, dataConverter: encryptingConverter(keys) });
    return { client, close: () => connection.close() };
  } catch (error) {
    throw new MigrationError('WORKFLOW_ENGINE_UNAVAILABLE', undefined, { cause: error });
  }
}

/** The error that a workflow's validator or handler threw, as the API shows it; null for anything else. */
export function refusalOf(error: unknown): MigrationError | null {
  const cause = error instanceof WorkflowUpdateFailedError ? error.cause : error;
  if (!(cause instanceof ApplicationFailure) || !isErrorCode(cause.type)) return null;
  const remedy = (cause.details?.[0] as { remedy?: string } | undefined)?.remedy;
  return new MigrationError(cause.type, cause.message, remedy === undefined ? {} : { remedy });
}
