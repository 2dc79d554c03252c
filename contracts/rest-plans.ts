// REST shapes of what a user plans for a migration: when its final begins, what it must keep to, in which order VMs stop
// and start, and what may be changed in a queue that runs. The meaning of the words is core's business.
import { z } from 'zod';
import { limits, powerOnWaits, riskCodes } from '../core/index.ts';
import { moref, siteId, timestamp, vmMigrationId } from './rest-common.ts';

export const finalPolicyRequest = z
  .strictObject({
    mode: z
      .enum(['manual', 'auto', 'window'])
      .describe('Begun by hand; by itself when ready and the objectives fit; or that, and only within the windows'),
    windows: z
      .array(z.strictObject({ from: timestamp, until: timestamp }))
      .max(100)
      .default([])
      .describe('Hours in which a final migration may begin; used by mode "window"'),
  })
  .refine((policy) => policy.mode !== 'window' || policy.windows.length > 0, 'mode "window" needs a window')
  .refine(
    (policy) => policy.windows.every(({ from, until }) => Date.parse(from) < Date.parse(until)),
    'a window ends after it begins',
  )
  .meta({ id: 'FinalPolicyRequest', description: 'When a final migration begins by itself' });

export const finalPolicy = z
  .object({
    mode: z.enum(['manual', 'auto', 'window']),
    windows: z.array(z.object({ from: timestamp, until: timestamp })),
  })
  .meta({ id: 'FinalPolicy', description: 'When a final migration begins by itself' });

export const objectivesRequest = z
  .strictObject({
    targetDurationSeconds: z.int().min(60).max(31_536_000).nullable().default(null).describe('Start to hand-over'),
    downtimeSecondsMax: z.int().min(1).max(86_400).nullable().default(null).describe('Longest stop that is accepted'),
  })
  .meta({ id: 'ObjectivesRequest' });

export const objectives = z
  .object({ targetDurationSeconds: z.number().nullable(), downtimeSecondsMax: z.number().nullable() })
  .meta({ id: 'Objectives' });

const stepFields = {
  delaySeconds: z.int().min(0).max(86_400).default(0).describe('Waited before the step begins'),
  timeoutSeconds: z.int().min(1).max(86_400).default(limits.shutDownTimeoutSeconds),
  onFailure: z.enum(['stop', 'go-on']).default('stop').describe('When the step does not come to its end in time'),
};
const powerOnFields = {
  ...stepFields,
  waitFor: z.enum(powerOnWaits).default('tools').describe('What ends the step: nothing, VMware Tools, an address'),
};
const vmRef = z.strictObject({ siteId, moref });

/** As it is asked for: VMs by their place. */
export const runbookRequest = z
  .strictObject({
    shutDown: z
      .array(z.strictObject({ vms: z.array(vmRef).min(1), ...stepFields }))
      .max(100)
      .default([]),
    powerOn: z
      .array(z.strictObject({ vms: z.array(vmRef).min(1), ...powerOnFields }))
      .max(100)
      .default([]),
  })
  .meta({ id: 'RunbookRequest', description: 'Order of shut-down at the source and power-on at the destination' });

/** As people write it into a file: VMs by name. */
export const runbookFile = z.strictObject({
  shutDown: z.array(z.strictObject({ vms: z.array(z.string().min(1)).min(1), ...stepFields })).default([]),
  powerOn: z.array(z.strictObject({ vms: z.array(z.string().min(1)).min(1), ...powerOnFields })).default([]),
});

/** As it is kept: members by their ids. */
const keptStep = {
  members: z.array(vmMigrationId),
  delaySeconds: z.number(),
  timeoutSeconds: z.number(),
  onFailure: z.enum(['stop', 'go-on']),
};
export const runbook = z
  .object({
    shutDown: z.array(z.object(keptStep)),
    powerOn: z.array(z.object({ ...keptStep, waitFor: z.enum(powerOnWaits) })),
  })
  .meta({ id: 'Runbook' });

export const priority = z.int().min(1).max(5).describe('Who takes free places first: 1 before 5');
export const concurrency = z
  .int()
  .min(1)
  .max(limits.concurrencyMax)
  .describe('Members that run (independent) or copy (group) at once');

const inQueue = { vmMigrationId };
export const queueChange = z
  .discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('move'), ...inQueue, before: vmMigrationId.nullable().describe('Null: the end') }),
    z.strictObject({ kind: z.literal('hold'), ...inQueue }),
    z.strictObject({ kind: z.literal('let-go'), ...inQueue }),
    z.strictObject({ kind: z.literal('remove'), ...inQueue }),
    z.strictObject({ kind: z.literal('concurrency'), concurrency }),
  ])
  .meta({ id: 'QueueChange', description: 'One change of a queue that runs' });

export const addMembersRequest = z
  .strictObject({ vms: z.array(vmRef).min(1).max(limits.vmsPerMigrationMax) })
  .meta({ id: 'AddMembersRequest' });

export const place = z.int().nullable().describe('Place in line for what it waits for; 1 is the next one');

export const estimate = z.object({ p50Seconds: z.number().nullable(), p90Seconds: z.number().nullable() });

export const projection = z
  .object({
    ready: estimate.describe('Until it is ready for its final migration; null cannot be foreseen'),
    downtimeSeconds: z.number().nullable().describe('How long the VM would stand still if its final began now'),
    downtimeParts: z
      .object({
        shutDownSeconds: z.number(),
        drainSeconds: z.number(),
        compareSeconds: z.number(),
        handOverSeconds: z.number(),
        buildSeconds: z.number(),
        powerOnSeconds: z.number(),
      })
      .nullable(),
  })
  .meta({ id: 'Projection' });

export const risk = z
  .object({
    code: z.enum(riskCodes),
    message: z.string(),
    help: z.array(z.string()).describe('What could help'),
  })
  .meta({ id: 'Risk', description: 'An objective that will not be met as things are' });

const limitedResource = z
  .string()
  .regex(
    /^(starts|(total|host|datastore|link)(:[A-Za-z0-9_./:-]{1,200})?)$/,
    'is none of total, host, datastore, link and starts, nor one of them such as host:ID',
  );

export const capacities = z.record(limitedResource, z.int().min(1).max(100_000)).meta({
  id: 'Capacities',
  description: 'Migrations at once, in total, per source host, datastore and link; and how many start per second',
});

export const admissionReport = z
  .object({
    capacities,
    waiting: z
      .array(z.object({ id: z.string(), waitingFor: z.string(), place: z.int() }))
      .describe('Migrations of VMs, and groups as a whole, that wait for their turn; the next ones first'),
  })
  .meta({ id: 'AdmissionReport' });

export const changeCapacitiesRequest = z
  .record(limitedResource, z.int().min(1).max(100_000).nullable())
  .refine((change) => Object.keys(change).length > 0, 'must change at least one')
  .meta({ id: 'ChangeCapacitiesRequest', description: 'Null gives a resource its default again' });

export type RunbookRequest = z.infer<typeof runbookRequest>;
export type QueueChangeRequest = z.infer<typeof queueChange>;
export type Projection = z.infer<typeof projection>;
