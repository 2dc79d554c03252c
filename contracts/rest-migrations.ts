// REST shapes of migrations: what is asked for, how it stands, what was measured, and the commands that may be given.
// The words of the states are the product's; which state may follow which is core's business.
import { z } from 'zod';
import { backgroundStates, limits, stateTable, statuses, type State } from '../core/index.ts';
import {
  concurrency,
  finalPolicy,
  finalPolicyRequest,
  objectives,
  objectivesRequest,
  place,
  priority,
  projection,
  risk,
  runbook,
  runbookRequest,
} from './rest-plans.ts';
import { bytes, diskId, migrationId, moref, pageOf, reason, siteId, timestamp, vmMigrationId } from './rest-common.ts';

const percent = z.int().min(0).max(100);
const dialFields = {
  replicationRate: percent.describe('How hard background replication may push; 50 yields to the guest, 0 pauses it'),
  writeThrottling: percent.describe('How much guest writes may be slowed so that replication converges; 0 = off'),
  bytesPerSecondMax: z
    .string()
    .regex(/^[1-9][0-9]{0,18}$/, 'must be a whole number of bytes, at least 1, written as decimal text')
    .nullable()
    .describe('Absolute limit of everything that is sent, in bytes per second as decimal text, or null'),
  addedWriteLatencyMsMax: z.number().positive().max(60_000).nullable().describe('Most that one guest write is slowed'),
};

export const dials = z.strictObject(dialFields).meta({ id: 'Dials', description: 'The settings of a replication' });

export const changeSettingsRequest = z
  .strictObject(dialFields)
  .partial()
  .refine((change) => Object.keys(change).length > 0, 'must change at least one setting')
  .meta({ id: 'ChangeSettingsRequest', description: 'Only what is named is changed' });

const placeFields = {
  clusterMoref: moref,
  datastoreMoref: moref,
  networks: z
    .array(
      z.strictObject({
        source: z.string().min(1).max(200).describe('Name of a network of the source VMs'),
        destination: z.string().min(1).max(200).describe('Name of the network at the destination'),
      }),
    )
    .max(200)
    .describe('A network that is not named here is matched by its own name'),
};

export const startMigrationRequest = z
  .strictObject({
    kind: z
      .enum(['independent', 'group'])
      .describe('One after another from a queue, or copied side by side and final-migrated by one action'),
    final: finalPolicyRequest
      .default({ mode: 'manual', windows: [] })
      .describe('Begun by itself the VM is powered on at the destination; only for independent migrations'),
    objectives: objectivesRequest.prefault({}),
    priority: priority.default(limits.priorityDefault),
    concurrency: concurrency.optional().describe('Default: 1 for independent migrations, all for a group'),
    runbook: runbookRequest.optional().describe('Only for groups'),
    vms: z
      .array(z.strictObject({ siteId, moref }))
      .min(1)
      .max(limits.vmsPerMigrationMax)
      .refine((vms) => new Set(vms.map((vm) => `${vm.siteId}/${vm.moref}`)).size === vms.length, 'names a VM twice'),
    destination: z.strictObject({ siteId, ...placeFields, networks: placeFields.networks.default([]) }),
    settings: z.strictObject(dialFields).partial().default({}),
    shutDown: z
      .strictObject({
        timeoutSeconds: z.int().min(1).max(86_400).default(limits.shutDownTimeoutSeconds),
        onTimeout: z.enum(['wait', 'power-off', 'give-up']).default('wait'),
      })
      .prefault({})
      .describe('What happens when the guest does not shut down in time'),
  })
  .refine((wanted) => wanted.kind === 'group' || wanted.runbook === undefined, 'only a group has a runbook')
  .refine((wanted) => wanted.kind === 'independent' || wanted.final.mode === 'manual', 'a group is finished by hand')
  .meta({ id: 'StartMigrationRequest' });

export const changeMigrationRequest = z
  .strictObject({
    final: finalPolicyRequest,
    objectives: objectivesRequest,
    runbook: runbookRequest,
    priority: priority.describe('Who takes free places first: 1 before 5; only while something of it waits'),
    settings: z.strictObject(dialFields).partial().describe('Members with settings of their own keep those'),
    shutDown: z.strictObject({
      timeoutSeconds: z.int().min(1).max(86_400),
      onTimeout: z.enum(['wait', 'power-off', 'give-up']),
    }),
  })
  .partial()
  .refine((change) => Object.keys(change).length > 0, 'must change something')
  .meta({ id: 'ChangeMigrationRequest', description: 'What is named is changed, while it runs' });

export const finalMigrationRequest = z
  .strictObject({ anyway: z.boolean().default(false).describe('Also when an objective would be missed') })
  .prefault({})
  .meta({ id: 'FinalMigrationRequest' });

export const retryRequest = z
  .strictObject({
    destination: z
      .strictObject(placeFields)
      .partial()
      .refine((change) => Object.keys(change).length > 0, 'must change something')
      .describe('Another place on the same site: what was built at the old one is undone first')
      .optional(),
    settings: z.strictObject(dialFields).partial().optional(),
  })
  .prefault({})
  .meta({ id: 'RetryRequest', description: 'What is named is changed for this VM' });

export const status = z.enum(statuses).meta({ id: 'Status' });
export const state = z.enum(Object.keys(stateTable) as [State, ...State[]]).meta({ id: 'State' });

export const rates = z
  .object({
    backgroundBytesPerSecond: z.number(),
    foregroundBytesPerSecond: z.number(),
    incomingBytesPerSecond: z.number(),
    wireBytesPerSecond: z.number(),
  })
  .meta({ id: 'Rates', description: 'Bytes per second: copied, forwarded, written by the guest, on the wire' });

const counters = {
  capacityBytes: bytes,
  allocatedBytes: bytes,
  copiedBytes: bytes,
  remainingBytes: bytes,
  dirtyBytes: bytes,
  sentBytes: bytes,
  wireBytes: bytes,
  resentBytes: bytes,
  skippedBytes: bytes,
  comparedBytes: bytes,
};

export const diskMigration = z
  .object({
    id: diskId,
    label: z.string(),
    sourceUuid: z.string(),
    destinationUuid: z.string().nullable(),
    capacityBytes: bytes,
    backgroundState: z.enum(backgroundStates),
    progress: z.object(counters).nullable(),
  })
  .meta({ id: 'DiskMigration' });

export const progress = z
  .object({
    at: timestamp,
    jobState: z.string().describe('What the replicator says it does'),
    percent: z.number().describe('Copied against allocated, 0 to 100'),
    ...counters,
    rates,
    projected: z
      .object({ drainSeconds: z.number(), rehashSeconds: z.number() })
      .nullable()
      .describe('How long the data path would stand still now'),
    readyReasons: z
      .array(z.object({ code: z.string(), message: z.string() }))
      .describe('What keeps it from being ready'),
  })
  .meta({ id: 'Progress', description: 'The newest sample of a replication' });

export const failure = z
  .object({ code: z.string(), message: z.string(), remedy: z.string(), step: z.string().nullable() })
  .meta({ id: 'Failure' });

export const downtime = z
  .object({
    totalMs: z.number().nullable().describe('Stop requested to the migrated guest being ready'),
    dataPathMs: z.number().nullable().describe('FREEZE accepted to the destination being the owner'),
    stopRequestedAt: timestamp.nullable(),
    poweredOffAt: timestamp.nullable(),
    frozenAt: timestamp.nullable(),
    handedOverAt: timestamp.nullable(),
    poweredOnAt: timestamp.nullable(),
    guestReadyAt: timestamp.nullable(),
  })
  .meta({ id: 'Downtime' });

export const vmMigration = z
  .object({
    id: vmMigrationId,
    migrationId,
    vm: z.object({ siteId, moref, name: z.string(), instanceUuid: z.string() }),
    destination: z.object({
      siteId,
      clusterMoref: moref,
      datastoreMoref: moref,
      vmName: z.string().nullable().describe('Name of the VM that was built there'),
      vmMoref: moref.nullable(),
      shadowVmMoref: moref.nullable(),
      shadowVmAddress: z.string().nullable(),
    }),
    status,
    state: state.describe('The step within the status, in the words of the product'),
    reason: reason.nullable().describe('Why it is where it is'),
    failure: failure.nullable().describe('Why it failed or was aborted, and what to do'),
    waitingFor: z.string().nullable().describe('What it waits for, where it waits'),
    place,
    settings: z.object({ desired: dials, inForce: dials.nullable() }),
    disks: z.array(diskMigration),
    progress: progress.nullable(),
    ready: z.boolean().describe('Whether a final migration would be accepted now'),
    paused: z.boolean(),
    held: z.boolean().describe('Passed over in the queue until it is let go'),
    decision: z.enum(['wait', 'go-on-without']).nullable().describe('About a group’s member that failed or ended'),
    projection: projection.nullable(),
    risks: z.array(risk),
    warnings: z.array(z.object({ code: z.string(), message: z.string() })),
    downtime: downtime.nullable().describe('How long the VM stood still, once it was stopped'),
    createdAt: timestamp,
    startedAt: timestamp.nullable(),
    readyAt: timestamp.nullable(),
    endedAt: timestamp.nullable(),
  })
  .meta({ id: 'VmMigration', description: 'The migration of one VM' });

export const migration = z
  .object({
    id: migrationId,
    kind: z.enum(['independent', 'group']),
    final: finalPolicy,
    objectives,
    runbook,
    priority: z.int(),
    concurrency: z.int(),
    paused: z.boolean(),
    status,
    reason: reason.nullable(),
    waitingFor: z.string().nullable().describe('What it waits for, where it waits'),
    place,
    counts: z.object({ total: z.int(), completed: z.int(), failed: z.int(), terminated: z.int() }),
    requestedBy: z.string().describe('Principal that asked for it'),
    createdAt: timestamp,
    endedAt: timestamp.nullable(),
    vmMigrations: z.array(vmMigration),
  })
  .meta({ id: 'Migration', description: 'One request to migrate, with its VMs in the order of the queue' });

export const migrationPage = pageOf(migration, 'MigrationPage');

export const sample = z
  .object({
    at: timestamp,
    copiedBytes: bytes,
    remainingBytes: bytes,
    dirtyBytes: bytes,
    sentBytes: bytes,
    wireBytes: bytes,
    rates,
  })
  .meta({ id: 'Sample' });

export const sampleQuery = z.strictObject({
  from: z.iso.datetime().optional(),
  until: z.iso.datetime().optional(),
  limit: z.coerce.number().int().min(1).max(5_000).default(600).describe('At most so many, evenly over the time'),
});

export const sampleList = z.object({ items: z.array(sample) }).meta({ id: 'SampleList' });

export const receipt = z
  .looseObject({})
  .meta({ id: 'Receipt', description: 'Signed proof of equality; check it with `landfall verify`' });

export const actionAccepted = z
  .object({ id: z.string(), action: z.string(), accepted: z.literal(true) })
  .meta({ id: 'ActionAccepted' });

export type Dials = z.infer<typeof dials>;
export type ChangeSettingsRequest = z.infer<typeof changeSettingsRequest>;
export type StartMigrationRequest = z.infer<typeof startMigrationRequest>;
export type StartMigrationInput = z.input<typeof startMigrationRequest>;
export type ChangeMigrationRequest = z.infer<typeof changeMigrationRequest>;
export type RetryRequest = z.infer<typeof retryRequest>;
export type Status = z.infer<typeof status>;
export type Rates = z.infer<typeof rates>;
export type Progress = z.infer<typeof progress>;
export type DiskMigration = z.infer<typeof diskMigration>;
export type VmMigration = z.infer<typeof vmMigration>;
export type Migration = z.infer<typeof migration>;
export type Sample = z.infer<typeof sample>;
export type ActionAccepted = z.infer<typeof actionAccepted>;
