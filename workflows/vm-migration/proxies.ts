/** The activities of one VM's migration, each under the preset that fits what it is used for. */
import { proxyActivities, proxyLocalActivities } from '@temporalio/workflow';
import type {
  RecordsActivities,
  RemovalActivities,
  ReplicationActivities,
  VsphereActivities,
} from '../../contracts/activities.ts';
import {
  commandOptions,
  finalOptions,
  recordsOptions,
  stepOptions,
  superviseOptions,
  tirelessOptions,
  waitOptions,
} from '../../temporal/index.ts';

type MigrationActivities = VsphereActivities & ReplicationActivities & RemovalActivities;

export const records = proxyLocalActivities<RecordsActivities>(recordsOptions);
/**
 * Notes that follow from updates. No local activities: their end may come before or after other things of the same workflow
 * task, and then the answer of the update stands at another place when it is replayed.
 */
export const handlerNotes =
  proxyActivities<Pick<RecordsActivities, 'noteApproval' | 'notePaused' | 'noteDecision' | 'noteQueue'>>(
    recordsOptions,
  );
export const steps = proxyActivities<MigrationActivities>(stepOptions);
export const finals = proxyActivities<MigrationActivities>(finalOptions);
export const waits = proxyActivities<MigrationActivities>(waitOptions);
export const commands = proxyActivities<MigrationActivities>(commandOptions);
/** Undoing, and going forward after the hand-over. */
export const tireless = proxyActivities<MigrationActivities>(tirelessOptions);
export const supervisor = proxyActivities<Pick<MigrationActivities, 'superviseReplication'>>(superviseOptions);
