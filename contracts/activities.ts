/**
 * The interfaces of all activities: what workflows may ask for. Names stand in workflow histories and must
 * never change. Every activity may run twice, also after its effect: it checks first, then acts. Undo
 * activities succeed when there is nothing to undo. Types only.
 */
import type {
  Destination,
  Dials,
  FailureNote,
  GroupMember,
  MemberDecision,
  MigrationKind,
  Queue,
  Reason,
  Runbook,
  State,
  Status,
  Step,
  Tokens,
  Waiting,
} from '../core/index.ts';
import type { TokenClaim } from './workflows.ts';

/** Every activity about one VM's migration names it first: interceptors log and report by it. */
export interface VmRef {
  readonly vmMigrationId: string;
  /** What people are told before it does anything: that its step begins. Saves the workflow a note of its own. */
  readonly note?: PhaseNote;
  /** What people are told once it has done its work, before it answers. */
  readonly after?: PhaseNote;
  /** Which workflows are told something then. It may come twice, and late: they hear it so. */
  readonly tell?: readonly Message[];
}

/** What follows the work of an activity. */
export type AfterWork = Pick<VmRef, 'after' | 'tell'>;

/** A signal; one that nobody is there to hear is no failure. */
export interface Message {
  readonly workflowId: string;
  readonly signal: string;
  readonly args: readonly unknown[];
}

export interface VmMigrationFacts {
  readonly migrationId: string;
  readonly vmName: string;
  readonly vmInstanceUuid: string;
  readonly sourceSiteId: string;
  readonly destinationSiteId: string;
  /** What it takes while it runs, and who goes first. */
  readonly needs: Tokens;
  readonly priority: number;
  /** Where it goes. */
  readonly place: Pick<Destination, 'clusterMoref' | 'datastoreMoref'>;
  /** Whether the VM is powered on at the destination when its own final began by itself or by the rules. */
  readonly powersOn: boolean;
  /** Where the records stand: what a run that takes over from one that was ended goes by. */
  readonly standing: Standing;
}

/** How far a VM's migration had come. */
export interface Standing {
  readonly step: Step;
  /** How it ended; null while it has not. */
  readonly ended: Extract<Status, 'Completed' | 'Terminated' | 'Failed' | 'Aborted'> | null;
  /** The destination owns the disks, as far as the records know. */
  readonly handedOver: boolean;
}

export interface GroupFacts {
  readonly members: readonly GroupMember[];
  /** Members that failed and have not ended: they stand still until somebody decides. */
  readonly failed: readonly string[];
  readonly paused: boolean;
  /** Members in their final migration, and whether theirs to hand over was ordered or done. */
  readonly inFinal: readonly { readonly id: string; readonly handingOver: boolean }[];
  readonly needs: Readonly<Record<string, Tokens>>;
  readonly priority: number;
  readonly concurrency: number;
  readonly runbook: Runbook;
  /** What members that the runbook does not name get for their shut-down. */
  readonly stopTimeoutSeconds: number;
}

export interface MigrationNote {
  readonly migrationId: string;
  readonly reason: Omit<Reason, 'since'> | null;
  readonly waitingFor: string | null;
  readonly paused: boolean;
}

export interface PhaseNote {
  readonly vmMigrationId: string;
  readonly step: Step;
  readonly state?: State;
  readonly reason?: Omit<Reason, 'since'> | null;
  readonly waitingFor?: string | null;
  readonly failure?: (FailureNote & { readonly step: string }) | null;
  /** It is about to begin a step, and waits when one of its sites is paused. */
  readonly mayWait?: boolean;
  /** Said once more, by another try: trouble that is shown stays. */
  readonly again?: boolean;
  /** Void in every other step: for who may say it late. */
  readonly onlyDuring?: readonly Step[];
}

/** A final migration that has begun, as things were then, and the token under which it freezes and hands over. */
export interface BegunFinal {
  readonly facts: VmMigrationFacts;
  readonly token: number;
}

export interface PhaseNoted {
  /** Name of the paused site that the step has to wait for. */
  readonly pausedSite: string | null;
}

export interface RecordsActivities {
  readVmMigration(input: VmRef): Promise<VmMigrationFacts>;
  /** Reads it and claims its tokens, unless it has ended. `heard` is false when there is no admission that could give them. */
  claimAdmission(input: VmRef): Promise<{ readonly facts: VmMigrationFacts; readonly heard: boolean }>;
  /** Writes the phase for people; the same twice changes nothing. A step that `mayWait` is told which site is paused. */
  notePhase(input: PhaseNote): Promise<PhaseNoted>;
  /** Who asked for the final migration. */
  noteApproval(input: VmRef & { readonly approvedBy: string }): Promise<void>;
  /** The members of an independent migration that have not ended, in order, with what was kept of the queue. */
  readQueue(input: { readonly migrationId: string }): Promise<KeptQueue>;
  /** Keeps the order and what is held, for people. */
  noteQueue(input: { readonly migrationId: string; readonly queue: Queue }): Promise<void>;
  /** A group as it stands in the records. */
  readGroup(input: { readonly migrationId: string }): Promise<GroupFacts>;
  /** Why a whole migration is where it is. */
  noteMigration(input: MigrationNote): Promise<void>;
  /** The wish that replication stands still; the supervisor carries it out. */
  notePaused(input: VmRef & { readonly paused: boolean }): Promise<void>;
  /** What a person changed with a retry; `rebuilds` when nothing of the old place is there any more. */
  noteChangedPlan(
    input: VmRef & {
      readonly destination?: Destination | undefined;
      readonly settings?: Dials | undefined;
      readonly rebuilds: boolean;
    },
  ): Promise<void>;
  noteDecision(input: VmRef & { readonly decision: MemberDecision | null }): Promise<void>;
  /** What waiting claims wait for: by id of a VM's migration or a migration. */
  noteAdmission(input: { readonly waiting: readonly Waiting[] }): Promise<void>;
  /** Of these claimants, the ones that have ended or are not there any more. */
  findDeadClaims(input: { readonly ids: readonly string[] }): Promise<readonly string[]>;
  /** Tokens of the installation; a paused site has none. */
  readCapacities(): Promise<Tokens>;
  /** What is under way holds, as the records have it: for an admission workflow that begins anew. */
  readLeases(): Promise<readonly TokenClaim[]>;
}

/** A queue with what has begun and is not its business any more. */
export interface KeptQueue extends Queue {
  /** Members that failed and have not ended: they take no place. */
  readonly failed: readonly string[];
}

export interface VsphereActivities {
  /** Puts the agent ISO on the destination datastore where it is missing or another one. It stays there. */
  ensureAgentIso(input: VmRef): Promise<void>;
  /** Creates the final VM's folder and its empty disks, and learns their UUIDs. */
  createTargetDisks(input: VmRef): Promise<void>;
  deleteTargetDisks(input: VmRef): Promise<void>;
  uploadConfigurationIso(input: VmRef): Promise<void>;
  deleteConfigurationIso(input: VmRef): Promise<void>;
  /** Builds the shadow VM with the destination disks attached. */
  createShadowVm(input: VmRef): Promise<void>;
  /** Powers the shadow VM off and removes it with its files; throws FOREIGN_DISK_ATTACHED rather than delete a kept disk. */
  destroyShadowVm(input: VmRef): Promise<void>;
  powerOnShadowVm(input: VmRef): Promise<void>;
  waitForShadowVmAddress(input: VmRef & { readonly timeoutSeconds: number }): Promise<void>;
  /** Gives the source's disks the replication policy: from now on writes pass through the tap. */
  attachStoragePolicy(input: VmRef): Promise<void>;
  detachStoragePolicy(input: VmRef): Promise<void>;
  /** Asks the source guest to shut down; does nothing when it is off. */
  requestGuestShutDown(input: VmRef): Promise<void>;
  /** Returns when the source VM is off. Throws SHUT_DOWN_TIMEOUT when the policy is to give up. */
  stopSourceVm(input: VmRef & { readonly approvedBy?: string | undefined }): Promise<BegunFinal>;
  /** Powers the source VM on again if it was running when its final migration stopped it. Never after the hand-over. */
  restoreSourcePower(input: VmRef): Promise<void>;
  /** Takes the destination disks off the shadow VM and checks twice that their files are still there. */
  detachTargetDisks(input: VmRef): Promise<void>;
  /** Gives the disks the source's UUIDs and builds the VM around them, powered off. */
  createFinalVm(input: VmRef): Promise<void>;
  copyNvram(input: VmRef): Promise<void>;
  powerOnFinalVm(input: VmRef): Promise<void>;
  /** Waits until the migrated guest reports itself; returns false when it did not in time. */
  waitForFinalGuest(
    input: VmRef & { readonly timeoutSeconds: number; readonly until?: 'tools' | 'address' },
  ): Promise<boolean>;
  /** Note and custom attribute on the source VM: it was migrated, leave it off. */
  markSourceVm(input: VmRef): Promise<void>;
}

/** Both ends of what replication needs beside the disks: one call for what is always removed together. */
export interface RemovalActivities {
  /** Destroys the shadow VM, deletes its configuration ISO, and forgets the receiver in it. */
  removeShadowVm(input: VmRef): Promise<void>;
  /** Stops replication, then takes the replication policy off the source's disks. */
  releaseSource(input: VmRef): Promise<void>;
}

/**
 * Until when a supervisor follows the job: `final` is until the rules say that the final migration begins, or it is not ready.
 * What is to be said after its work is said only when that is what came.
 */
export type SuperviseUntil = 'ready' | 'not-ready' | 'final';

export interface SuperviseResult {
  readonly outcome: 'ready' | 'not-ready' | 'final' | 'detached' | 'aborted';
  /** Why it was aborted. */
  readonly failure?: FailureNote;
}

export interface ReplicationActivities {
  /** Proves to the receiver who we are, and signs its certificate. */
  enrolShadowVm(input: VmRef): Promise<void>;
  forgetShadowVm(input: VmRef): Promise<void>;
  /** Ensures that the job runs and follows it, writing progress each second. Leaves the job running when it ends. */
  superviseReplication(
    input: VmRef & { readonly until: SuperviseUntil; readonly detachAfterSeconds: number },
  ): Promise<SuperviseResult>;
  /** Ends the job; unfreezes it first where it is frozen. */
  stopReplication(input: VmRef): Promise<void>;
  /** Keeps the wish and tells the replicator; null follows the migration's dials. */
  changeDials(input: VmRef & { readonly dials: Dials | null }): Promise<void>;
  /** Freezes and waits until both sides' roots are compared. Throws ROOTS_DIFFER, FREEZE_CANCELLED or
   * SOURCE_STORAGE_FAILED. */
  freezeReplication(input: VmRef & { readonly token: number }): Promise<void>;
  unfreezeReplication(input: VmRef & { readonly token: number }): Promise<void>;
  /** The destination becomes the owner. Throws FREEZE_CANCELLED when the source was powered on before, and
   * SOURCE_STORAGE_FAILED when its disks cannot be flushed. */
  handOver(input: VmRef & { readonly token: number }): Promise<void>;
  /**
   * Asks the source itself who owns the disks, after a run that was ended in the middle. A hand-over that had been sealed is
   * brought to its end; anything less is unfrozen, so that it cannot be any more.
   */
  settleOwner(input: VmRef): Promise<'source' | 'destination'>;
  writeReceipt(input: VmRef): Promise<void>;
}

/** A VM's migration that nobody carries on: its workflow was ended from outside. */
export type Orphan = VmRef;

/** An ended migration of which something is still there. */
export interface Leftover extends VmRef {
  readonly completed: boolean;
}

export interface JanitorActivities {
  findOrphans(): Promise<readonly Orphan[]>;
  /** Queues and groups with members under way, whose workflow does not run. */
  findStrayMigrations(): Promise<readonly { readonly migrationId: string; readonly kind: MigrationKind }[]>;
  findLeftovers(): Promise<readonly Leftover[]>;
  /** Starts the workflow of an orphan again, to undo what it made or to finish. Returns false when nothing is to be done. */
  adoptOrphan(input: Orphan): Promise<boolean>;
  /** Returns false when it runs already. */
  restartMigration(input: { readonly migrationId: string; readonly kind: MigrationKind }): Promise<boolean>;
  /** Says what the janitor did, in the audit log. */
  noteRepair(input: { readonly targetId: string; readonly what: string }): Promise<void>;
}

export interface ClusterRef {
  readonly clusterId: string;
}

export interface ClusterActivities {
  /** Checks the cluster and lists its hosts by moref. Throws CLUSTER_NOT_SUITABLE. */
  prepareCluster(input: ClusterRef): Promise<readonly string[]>;
  /** Gives each host its one-time enrolment secret as an advanced option. */
  writeHostOptions(input: ClusterRef): Promise<void>;
  /** Installs the host package on every host and waits for the task. */
  installHostPackage(input: ClusterRef): Promise<void>;
  enrolHost(input: ClusterRef & { readonly hostMoref: string }): Promise<void>;
  /** Creates the replication policy where it is missing. */
  ensureStoragePolicy(input: ClusterRef): Promise<void>;
  finishClusterSetup(input: ClusterRef & { readonly failure: FailureNote | null }): Promise<void>;
}

export type AllActivities = RecordsActivities &
  VsphereActivities &
  ReplicationActivities &
  RemovalActivities &
  ClusterActivities &
  JanitorActivities;
