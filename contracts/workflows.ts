/**
 * What enters and leaves workflows: inputs, results, and the bodies of signals and updates, as schemas and
 * types. Only ids and small facts travel; plans and credentials are read by activities from the records.
 * Workflow code imports the types only: the schemas check at the edges.
 */
import { z } from 'zod';
import type {
  Admission,
  Destination,
  Dials,
  FailureNote,
  GroupMember,
  MemberDecision,
  PowerOnWait,
  Queue,
  QueueChange,
  Status,
  Step,
  Tokens,
} from '../core/index.ts';

const id = (prefix: string) => z.string().startsWith(`${prefix}_`);

/** What a run of vmMigration passes on when it continues as new. A version stays readable as long as runs with it may begin. */
export type VmMigrationCarry =
  | VmMigrationCarryBase
  | (Omit<VmMigrationCarryBase, 'version'> & {
      readonly version: 3;
      /** The newest order of the group. */
      readonly order: FinalOrder | null;
      /** Why the last final migration was given up. */
      readonly lastRefusal: FailureNote | null;
    });

interface VmMigrationCarryBase {
  readonly version: 2;
  /** The last step that was begun: everything up to it has to be undone on failure. */
  readonly reached: Step;
  /** A final was cancelled from outside: only a person begins the next. */
  readonly onlyByHand: boolean;
  readonly paused: boolean;
}

export interface VmMigrationInput {
  readonly vmMigrationId: string;
  /** Workflow that wants to know how it goes, by signal. */
  readonly parentWorkflowId?: string | undefined;
  /** Whoever started it holds its tokens, and orders its final migration. */
  readonly inGroup?: boolean | undefined;
  /** Its former run was ended from outside: undo what that made, or finish what it handed over, by the records. */
  readonly orphan?: boolean | undefined;
  readonly carry?: VmMigrationCarry | undefined;
}

export interface VmMigrationResult {
  readonly status: Extract<Status, 'Completed' | 'Terminated' | 'Failed' | 'Aborted'>;
}

/** What a run of independentMigration passes on. */
export interface QueueCarry {
  /** From 2 on with whether a change is still to be noted. */
  readonly version: 1 | 2;
  readonly queue: Queue;
  readonly running: readonly string[];
  readonly failed: readonly string[];
  readonly ended: readonly (readonly [string, Status])[];
  readonly terminated: OperatorCommand | null;
  readonly toNote?: boolean;
}

export interface IndependentMigrationInput {
  readonly migrationId: string;
  readonly carry?: QueueCarry | undefined;
}

/** What a run of groupMigration passes on: never in the middle of a final migration. */
export interface GroupCarry {
  /** From 2 on with what was accepted and not carried out yet. */
  readonly version: 1 | 2;
  readonly finalRequested?: OperatorCommand | null;
  readonly terminated?: OperatorCommand | null;
  readonly lastTrouble?: FailureNote | null;
  readonly admitted: boolean;
  readonly paused: boolean;
  readonly finals: number;
  readonly started: readonly string[];
  readonly standing: readonly string[];
  readonly members: readonly GroupMember[];
}

export interface GroupMigrationInput {
  readonly migrationId: string;
  /** Its former run was ended from outside: members may stand in the middle of a final migration. */
  readonly restarted?: boolean | undefined;
  readonly carry?: GroupCarry | undefined;
}

/** What one round of the janitor did. */
export interface JanitorResult {
  readonly adopted: number;
  readonly restarted: number;
  readonly cleaned: number;
  readonly failed: number;
}

/** How many members ended in which way. */
export interface MigrationResult {
  readonly completed: number;
  readonly failed: number;
  readonly terminated: number;
}

/** What the admission workflow passes on. */
export interface AdmissionCarry {
  /** From 2 on with those that hold tokens and have not heard it. */
  readonly version: 1 | 2;
  readonly state: Admission;
  readonly arrived: number;
  readonly toTell?: readonly string[];
}

export interface AdmissionInput {
  readonly carry?: AdmissionCarry | undefined;
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
export interface OperatorCommand {
  readonly requestedBy: string;
}

/** What a person changes when a migration that failed is retried. Checked against the vCenters before it comes here. */
export interface RetryChange {
  readonly destination?: Destination | undefined;
  readonly settings?: Dials | undefined;
}

export interface RetryCommand extends OperatorCommand {
  readonly change?: RetryChange | undefined;
}

/** A decision about a member that failed or was terminated. */
export interface MemberDecisionCommand extends OperatorCommand {
  readonly vmMigrationId: string;
  readonly decision: MemberDecision;
}

export interface QueueCommand extends OperatorCommand {
  readonly change: QueueChange;
}

/** A command that a migration passes on to its members; one whose phase does not allow it does nothing. */
export interface MemberCommand extends OperatorCommand {
  readonly kind: 'terminate' | 'pause' | 'resume' | 'shut-down-guest';
}

export interface CommandAccepted {
  readonly accepted: true;
}

/** What a group tells a member in its final migration, in this order; `return` is possible until `hand-over`. */
export interface FinalOrder {
  /** Counts the group's attempts: an order of an earlier one is void. */
  readonly finalId: number;
  readonly order: 'stop' | 'freeze' | 'hand-over' | 'return' | 'power-on' | 'stay-off';
  /** With `power-on`: what makes the member report `guest-up`. */
  readonly waitFor?: PowerOnWait;
  /** With `stop`: who asked for the final migration. */
  readonly requestedBy?: string;
  /** With `hand-over`: nobody is powered on afterwards, so it goes to its end without a further order. */
  readonly staysOff?: boolean;
}

/** Where a member is. Those from `off` to `returned` answer an order and name its final. */
export type MemberNews =
  | { readonly what: 'ready' | 'not-ready' | 'retrying' }
  | { readonly what: 'failed' | 'ended'; readonly status: Status }
  | {
      readonly what: 'off' | 'frozen' | 'built' | 'powered-on' | 'guest-up' | 'returned';
      readonly finalId: number;
    }
  | { readonly what: 'cannot'; readonly finalId: number; readonly reason: FailureNote };

export interface MemberReport {
  readonly vmMigrationId: string;
  readonly news: MemberNews;
}

/** A claim for tokens; `admitted` is signalled to the workflow that it names. */
export interface TokenClaim {
  /** Workflow id of the claimant. */
  readonly id: string;
  readonly needs: Tokens;
  readonly priority: number;
  readonly owner: string;
}

export interface TokenRelease {
  readonly id: string;
  /** All of it when absent. */
  readonly part?: Tokens | undefined;
}
