/**
 * Every limit of the control plane in one place, each with the reason for its size. It must hold numbers
 * only; what happens at a limit is decided where the limit is used.
 */
export const limits = {
  /** SCSI places of a shadow VM: 4 adapters of 15, all kept free for destination disks. */
  disksPerVmMax: 60,
  /** One request: 500 members keep a workflow's history far below 4,096 events. */
  vmsPerMigrationMax: 500,
  /** Members of one independent migration that run at once unless the user says otherwise. */
  independentConcurrency: 1,
  /** More at once than one source cluster's hosts and one link carry is never faster. */
  concurrencyMax: 100,
  /** Members of a group that are started in one turn of its workflow: a pause that comes meanwhile holds for the rest. */
  startedTogetherMax: 5,
  /** Time a guest gets for its own shut-down before the policy decides. */
  shutDownTimeoutSeconds: 300,
  /** A guest that ignored the request to shut down for so long goes on; it is not waited for any longer. */
  lateShutDownSeconds: 60,
  /** With the policy "wait" a group waits for a member's shut-down as long as the activity may take. */
  stopWaitSecondsMax: 30 * 86_400,
  /** What a group adds to a member's own time limit, for the power-off that may follow it. */
  stopGraceSeconds: 120,
  /** A shadow VM boots in seconds; a slow datastore and DHCP may take minutes. */
  shadowVmAddressTimeoutSeconds: 600,
  /** How long the end of a migration waits for the migrated guest to report itself. */
  guestReadyTimeoutSeconds: 180,
  /** The supervise activity returns after this time so that the workflow can continue as new. */
  superviseDetachSeconds: 12 * 3600,
  /** How often the replicator's status is read: an absolute limit must show within a second. */
  supervisePollMs: 1000,
  /** How often projection, objectives and the rules of the final are judged: a change shows within this time. */
  outlookSeconds: 5,
  /** How often the source VM is looked at for changed disks while it replicates. */
  sourceCheckSeconds: 30,
  /** Samples kept per VM migration before older ones are thinned: 48 h at 1 Hz. */
  samplesPerVmMax: 172_800,
  /** Page size of every list unless the caller asks for less. */
  pageSizeMax: 200,
  /** Priority of a migration unless the user says otherwise; 1 goes first, 5 last. */
  priorityDefault: 3,
  /** Migrations under way at once, unless the administrator says otherwise: one worker follows 400 replications. */
  admissionTotal: 400,
  /** From one source host: each VM's replicator may hold 384 MiB, so 32 of them fit into 12 GiB. */
  admissionPerHost: 32,
  /** Onto one datastore: more writers side by side only make its latency grow. */
  admissionPerDatastore: 64,
  /** Over one pair of sites: below 1 MB/s each, replication does not keep up with ordinary writes on 1 Gbit/s. */
  admissionPerLink: 100,
  /**
   * VMs that begin per second, unless the administrator says otherwise. Each begins with half a dozen calls to a vCenter and half
   * of its history; the embedded engine answers people at once while it carries so many.
   */
  admissionStartsPerSecond: 2,
  /** So many begin at once after a quiet time: a small wave does not wait. */
  admissionStartsBurst: 20,
  /** A claim for tokens that was not granted is made again after this time, in case it was lost. */
  claimAgainSeconds: 1800,
  /** Wait before a claim is made again when the admission workflow was not there. */
  claimLostSeconds: 5,
  /** What waiting claims wait for is written for people at most so often. */
  admissionNoteSeconds: 5,
  /** How often claimants are looked at: who died without giving back is found after at most this time. */
  admissionReconcileSeconds: 600,
  /** An objective must be missed for so long before people are called: the first projections waver. */
  alarmRaiseSeconds: 15,
  /** And met again for so long, by `alarmMargin`, before the alarm ends: one that comes and goes is not believed. */
  alarmClearSeconds: 60,
  /** Share of an objective that must be to spare. */
  alarmMargin: 0.1,
  /** How often the janitor looks for what nobody carries on. */
  janitorSeconds: 300,
  /** A workflow begins with an empty history from here on, at its next safe point; the server suggests 4,096. */
  historyEventsMax: 500,
  /** The same for queues and groups, which hear of every member: where the server would suggest it. */
  migrationEventsMax: 4096,
  /** The same for the admission workflow, which hears of every migration: renewing it costs one more run. */
  admissionEventsMax: 2000,
  /** Wait between tries of a step that can only go forward. */
  forwardRetrySecondsMin: 5,
  forwardRetrySecondsMax: 60,
  /** Lifetime of agents' certificates and when they are renewed. */
  certificateDays: 7,
  certificateRenewDays: 3,
  /** Shadow VM size: enough for 60 disks' maps and hash trees. */
  shadowVmCpus: 2,
  shadowVmMemoryMb: 2048,
  /** State disk of a shadow VM: have-map, hash tree and journal, thin. */
  stateDiskBytes: 16 * 1024 ** 3,
} as const;

/** Fixed ports (product row S7). Tests use free ones. */
export const ports = {
  hostAgent: 32873,
  shadowVm: 32875,
  api: 8743,
} as const;
