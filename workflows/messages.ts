/** Signals and updates of all workflows: what may be sent to them. Handlers stand in the workflows. */
import { defineSignal, defineUpdate } from '@temporalio/workflow';
import type {
  CommandAccepted,
  FinalOrder,
  MemberCommand,
  MemberDecisionCommand,
  MemberReport,
  OperatorCommand,
  QueueCommand,
  RetryCommand,
  TokenClaim,
  TokenRelease,
} from '../contracts/workflows.ts';
import type { Dials, Tokens } from '../core/index.ts';

/** New dials; null follows the migration's again. In force within a second while it replicates. */
export const changeSettings = defineSignal<[Dials | null]>('changeSettings');

/** Begins the final migration of a VM or a group. Refused with FINAL_NOT_READY, FINAL_UNDER_WAY, GROUP_HELD or ALREADY_ENDED. */
export const finalMigration = defineUpdate<CommandAccepted, [OperatorCommand]>('finalMigration');

/** Ends a migration and undoes what it made. Refused with PHASE_DISALLOWS from the hand-over on, or ALREADY_ENDED. */
export const terminate = defineUpdate<CommandAccepted, [OperatorCommand]>('terminate');

/** Asks source guests to shut down; replication goes on. Refused with PHASE_DISALLOWS before it replicates and after. */
export const shutDownGuest = defineUpdate<CommandAccepted, [OperatorCommand]>('shutDownGuest');

/** Replication stands still, no further step begins. Refused with PHASE_DISALLOWS when it does already, and in a final. */
export const pause = defineUpdate<CommandAccepted, [OperatorCommand]>('pause');
export const resume = defineUpdate<CommandAccepted, [OperatorCommand]>('resume');

/**
 * Goes on from the step that failed, or from the first one at another place. Refused with PHASE_DISALLOWS unless it has failed,
 * and for another place when data are at the old one.
 */
export const retry = defineUpdate<CommandAccepted, [RetryCommand]>('retry');

/** What becomes of a group's member that failed or was terminated. Refused with PHASE_DISALLOWS for any other. */
export const decideMember = defineUpdate<CommandAccepted, [MemberDecisionCommand]>('decideMember');

/** Changes a queue that runs. Refused with MEMBER_NOT_WAITING, INVALID_INPUT or PHASE_DISALLOWS. */
export const changeQueue = defineUpdate<CommandAccepted, [QueueCommand]>('changeQueue');

/** A site was resumed: whoever waits for that looks again. May come at any time, and for nothing. */
export const siteResumed = defineSignal('siteResumed');

/** From a migration to its member. */
export const memberCommand = defineSignal<[MemberCommand]>('memberCommand');
export const finalOrder = defineSignal<[FinalOrder]>('finalOrder');

/** From a member to its migration. */
export const memberReport = defineSignal<[MemberReport]>('memberReport');

/** To the admission workflow, and its answer. Both may come twice. */
export const claimTokens = defineSignal<[TokenClaim]>('claimTokens');
export const releaseTokens = defineSignal<[TokenRelease]>('releaseTokens');
export const changeCapacities = defineSignal<[Tokens]>('changeCapacities');
/** Priorities by owner; claims that wait get the new one. */
export const changePriorities = defineSignal<[Readonly<Record<string, number>>]>('changePriorities');
export const admitted = defineSignal('admitted');
