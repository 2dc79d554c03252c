// What the API asks of the workflow engine, in the words of the domain. The implementation beside it speaks Temporal;
// a test puts a recorder in its place.
import type { RetryChange } from '../../contracts/workflows.ts';
import type { Dials, MemberDecision, MigrationKind, QueueChange, Tokens } from '../../core/index.ts';

/** Commands without further words, to a VM's migration or to a whole one. */
export type Action = 'final-migration' | 'terminate' | 'shut-down-guest' | 'pause' | 'resume';

/** Who gives a command, which a handler's context is. Given twice under one claim, it is carried out once. */
export interface Commander {
  readonly principalId: string;
  readonly claimId: string | null;
}

export interface WorkflowGateway {
  /** Starts the workflow of a migration that is in the records. May be called twice: the second changes nothing. */
  startMigration(migrationId: string, kind: MigrationKind): Promise<void>;
  /** Starts what every installation has once: the workflow that gives out tokens, and the janitor's schedule. */
  ensureServices(): Promise<void>;
  /** Starts (or joins) the configuration of a cluster that is in the records. */
  startClusterSetup(cluster: { readonly id: string; readonly siteId: string; readonly moref: string }): Promise<void>;
  /** Tells a running VM migration its new settings. One that does not run any more hears nothing. */
  changeSettings(vmMigrationId: string, dials: Dials | null): Promise<void>;
  /** Gives a command to `id` and waits until it is accepted. A refusal comes as the code that the workflow gave. */
  command(id: string, action: Action, by: Commander): Promise<void>;
  /** Lets a VM's migration that has failed go on, with what was changed for it. Refused like a command. */
  retry(vmMigrationId: string, change: RetryChange, by: Commander): Promise<void>;
  /** What becomes of a group's member that failed or was terminated. Refused like a command. */
  decideMember(migrationId: string, vmMigrationId: string, decision: MemberDecision, by: Commander): Promise<void>;
  /** Changes a queue that runs. Refused like a command. */
  changeQueue(migrationId: string, change: QueueChange, by: Commander): Promise<void>;
  /** Tells the admission workflow what there is to give out. */
  changeCapacities(capacities: Tokens): Promise<void>;
  /** Tells the admission workflow who goes first, by migration. */
  changePriorities(priorities: Readonly<Record<string, number>>): Promise<void>;
  /** Lets a VM's migration that waits for a paused site look again. */
  siteResumed(vmMigrationId: string): Promise<void>;
  ping(): Promise<void>;
  close(): Promise<void>;
}
