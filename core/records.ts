/**
 * Shapes of the structured values that stand in records: destination, reasons, progress. Byte counts are
 * decimal strings, because they cross JSON; rates are numbers. It must not judge anything.
 */
import type { Dials } from './dials.ts';

/** Why something is as it is, for people and programs. */
export interface Reason {
  readonly code: string;
  readonly message: string;
  readonly since: string;
}

export interface NetworkMapping {
  readonly source: string;
  readonly destination: string;
}

/** Where a migration goes. Networks are names at the source mapped to names at the destination. */
export interface Destination {
  readonly siteId: string;
  readonly clusterMoref: string;
  readonly datastoreMoref: string;
  readonly networks: readonly NetworkMapping[];
}

/** Where one VM goes: its own place since it was retried with another one, else the migration's. */
export function effectiveDestination(own: Destination | null, ofMigration: Destination): Destination {
  return own ?? ofMigration;
}

/** One after another from a queue, or copied side by side and final-migrated together. */
export type MigrationKind = 'independent' | 'group';

/** What happens when the guest does not shut down within its time. */
export type OnShutDownTimeout = 'wait' | 'power-off' | 'give-up';

export interface MigrationOptions {
  readonly shutDown: { readonly timeoutSeconds: number; readonly onTimeout: OnShutDownTimeout };
}

export interface TransferRates {
  readonly backgroundBytesPerSecond: number;
  readonly foregroundBytesPerSecond: number;
  readonly incomingBytesPerSecond: number;
  readonly wireBytesPerSecond: number;
}

export interface TransferBytes {
  readonly capacityBytes: string;
  readonly allocatedBytes: string;
  readonly copiedBytes: string;
  readonly remainingBytes: string;
  readonly dirtyBytes: string;
  readonly sentBytes: string;
  readonly wireBytes: string;
  readonly resentBytes: string;
  readonly skippedBytes: string;
  readonly comparedBytes: string;
}

/** The last known totals of one VM's migration. */
export interface VmProgress extends TransferBytes {
  readonly at: string;
  readonly jobState: string;
  /** Copied against allocated, 0 to 100. */
  readonly percent: number;
  readonly rates: TransferRates;
  readonly projected: { readonly drainSeconds: number; readonly rehashSeconds: number } | null;
  readonly readyReasons: readonly { readonly code: string; readonly message: string }[];
}

/** Progress of one disk as it is kept: found again by the source's UUID. */
export interface DiskProgress extends TransferBytes {
  readonly sourceUuid: string;
  readonly destinationUuid: string;
}

/** One second of one VM's migration, complete: what the supervisor writes. */
export interface ProgressReport {
  readonly vm: VmProgress;
  readonly disks: readonly (DiskProgress & { readonly backgroundState: string })[];
  readonly ready: boolean;
  readonly dialsInForce: Dials | null;
}

/** How one host of a cluster took its configuration. */
export interface HostResult {
  readonly moref: string;
  readonly name: string;
  readonly address: string | null;
  readonly state: 'waiting' | 'installing' | 'enrolling' | 'ready' | 'failed';
  readonly message: string | null;
}

/** Types of the rows in the event table, which the live stream carries. */
export const eventTypes = [
  'site.added',
  'site.changed',
  'site.removed',
  'cluster.changed',
  'migration.created',
  'migration.changed',
  'vm-migration.changed',
  'vm-migration.progress',
  'vm-migration.settings',
  'alarm.raised',
  'alarm.cleared',
  'installation.part',
] as const;
export type EventType = (typeof eventTypes)[number];
