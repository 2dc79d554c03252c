/** Signals and updates of all workflows: what the API may send. Handlers stand in the workflows. */
import { defineSignal, defineUpdate } from '@temporalio/workflow';
import type { CommandAccepted, MemberEnded, OperatorCommand } from '../contracts/workflows.ts';
import type { Dials } from '../core/index.ts';

/** New dials; null follows the migration's again. In force within a second while it replicates. */
export const changeSettings = defineSignal<[Dials | null]>('changeSettings');

/** Begins the final migration. Refused with FINAL_NOT_READY, FINAL_UNDER_WAY or ALREADY_ENDED. */
export const finalMigration = defineUpdate<CommandAccepted, [OperatorCommand]>('finalMigration');

/** Ends the migration and undoes what it made. Refused with PHASE_DISALLOWS from the hand-over on, or ALREADY_ENDED. */
export const terminate = defineUpdate<CommandAccepted, [OperatorCommand]>('terminate');

/** Asks the source guest to shut down; replication goes on. Refused with PHASE_DISALLOWS before it replicates and after. */
export const shutDownGuest = defineUpdate<CommandAccepted, [OperatorCommand]>('shutDownGuest');

/** From the migration's workflow to a member: terminate if your phase allows it. */
export const terminateMember = defineSignal<[OperatorCommand]>('terminateMember');

/** From a member to the migration's workflow. */
export const memberEnded = defineSignal<[MemberEnded]>('memberEnded');
