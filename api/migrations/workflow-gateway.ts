// What the API asks of the workflow engine, in the words of the domain. The implementation beside it speaks Temporal;
// a test puts a recorder in its place.
import type { Dials } from '../../core/index.ts';

export type VmAction = 'final-migration' | 'terminate' | 'shut-down-guest';

export interface WorkflowGateway {
  /** Starts the workflow of a migration that is in the records. May be called twice: the second changes nothing. */
  startMigration(migrationId: string): Promise<void>;
  /** Starts (or joins) the configuration of a cluster that is in the records. */
  startClusterSetup(cluster: { readonly id: string; readonly siteId: string; readonly moref: string }): Promise<void>;
  /** Tells a running VM migration its new settings. One that does not run any more hears nothing. */
  changeSettings(vmMigrationId: string, dials: Dials): Promise<void>;
  /** Gives a command and waits until it is accepted. A refusal comes as the code that the workflow gave. */
  command(vmMigrationId: string, action: VmAction, principalId: string): Promise<void>;
  /** Ends every member of a migration that has not ended. */
  terminateMigration(migrationId: string, principalId: string): Promise<void>;
  ping(): Promise<void>;
  close(): Promise<void>;
}
