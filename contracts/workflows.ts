/**
 * What enters and leaves workflows: inputs, results, and the bodies of signals and updates, as schemas and
 * types. Only ids and small facts travel; plans and credentials are read by activities from the records.
 * Workflow code imports the types only: the schemas check at the edges.
 */
import { z } from 'zod';
import type { Dials, Status, Step } from '../core/index.ts';

const id = (prefix: string) => z.string().startsWith(`${prefix}_`);

/** What a run of vmMigration passes on when it continues as new. */
export interface VmMigrationCarry {
  readonly version: 1;
  /** The last step that was begun: everything up to it has to be undone on failure. */
  readonly reached: Step;
  readonly autoFinal: boolean;
}

export interface VmMigrationInput {
  readonly vmMigrationId: string;
  /** Workflow that wants to know the end, by signal. */
  readonly parentWorkflowId?: string | undefined;
  readonly carry?: VmMigrationCarry | undefined;
}

export interface VmMigrationResult {
  readonly status: Extract<Status, 'Completed' | 'Terminated' | 'Failed' | 'Aborted'>;
}

export const independentMigrationInput = z.strictObject({ migrationId: id('mig') });
export type IndependentMigrationInput = z.infer<typeof independentMigrationInput>;

export interface IndependentMigrationResult {
  readonly completed: number;
  readonly failed: number;
  readonly terminated: number;
}

export const clusterSetupInput = z.strictObject({ clusterId: id('cl') });
export type ClusterSetupInput = z.infer<typeof clusterSetupInput>;

export interface ClusterSetupResult {
  readonly state: 'configured' | 'failed';
}

export const dials: z.ZodType<Dials> = z.strictObject({
  replicationRate: z.int().min(0).max(100),
  writeThrottling: z.int().min(0).max(100),
  bytesPerSecondMax: z
    .string()
    .regex(/^[1-9]\d{0,18}$/)
    .nullable(),
  addedWriteLatencyMsMax: z.number().positive().max(60_000).nullable(),
});

/** Who gave an operator's command; ends up in the receipt. */
export const operatorCommand = z.strictObject({ requestedBy: z.string().min(1).max(200) });
export type OperatorCommand = z.infer<typeof operatorCommand>;

export interface CommandAccepted {
  readonly accepted: true;
}

/** A member tells the workflow that started it how it ended. */
export interface MemberEnded {
  readonly vmMigrationId: string;
  readonly status: Status;
}
