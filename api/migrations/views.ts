// Turns rows into the REST shapes. Pure: what a row does not hold is null, never guessed.
import type { z } from 'zod';
import type { DiskMigration, Migration, VmMigration, sample } from '../../contracts/rest.ts';
import {
  effectiveDials,
  type BackgroundState,
  type Dials,
  type MigrationKind,
  type State,
  type Status,
} from '../../core/index.ts';
import {
  destinationOf,
  type Disk,
  type Migration as MigrationRow,
  type MigrationWithMembers,
  type Sample,
  type VmMigration as VmMigrationRow,
} from '../../db/index.ts';

type Member = VmMigrationRow & { readonly disks: readonly Disk[] };

export function toMigration(row: MigrationWithMembers): Migration {
  const ahead = (position: number): number =>
    row.vmMigrations.filter((member) => isInLine(member) && !member.held && member.position < position).length;
  const members = row.vmMigrations.map((member) => toVmMigration(member, row, ahead(member.position)));
  const count = (...statuses: Status[]): number => members.filter((member) => statuses.includes(member.status)).length;
  return {
    id: row.id,
    kind: row.kind as MigrationKind,
    final: row.final as Migration['final'],
    objectives: row.objectives as Migration['objectives'],
    runbook: row.runbook as Migration['runbook'],
    priority: row.priority,
    concurrency: row.concurrency,
    paused: row.paused,
    status: row.status as Status,
    reason: row.reason as Migration['reason'],
    waitingFor: row.waitingFor,
    place: row.place,
    counts: {
      total: members.length,
      completed: count('Completed'),
      failed: count('Failed', 'Aborted'),
      terminated: count('Terminated'),
    },
    requestedBy: row.requestedBy,
    createdAt: row.createdAt.toISOString(),
    endedAt: iso(row.endedAt),
    vmMigrations: members,
  };
}

/** A member that its queue or group has not begun. */
function isInLine({ status, waitingFor, endedAt }: VmMigrationRow): boolean {
  return status === 'Queued' && waitingFor === null && endedAt === null;
}

/** Nobody writes for a member that was not begun, so what it waits for follows from where it stands. */
function lineOf(
  row: VmMigrationRow,
  { kind, paused }: MigrationRow,
  ahead: number,
): Pick<VmMigration, 'waitingFor' | 'place'> {
  const { waitingFor, place, held } = row;
  if (!isInLine(row)) return { waitingFor, place };
  if (held) return { waitingFor: 'to be let go', place: null };
  const turn = `its turn in the ${kind === 'group' ? 'group' : 'queue'}`;
  return { waitingFor: paused ? 'the migration to be resumed' : turn, place: ahead + 1 };
}

/** `ahead` is how many members of its migration begin before it. */
export function toVmMigration(row: Member, migration: MigrationRow, ahead: number): VmMigration {
  const destination = destinationOf(row, migration);
  return {
    id: row.id,
    migrationId: row.migrationId,
    vm: { siteId: row.sourceSiteId, moref: row.vmMoref, name: row.vmName, instanceUuid: row.vmInstanceUuid },
    destination: {
      siteId: destination.siteId,
      clusterMoref: destination.clusterMoref,
      datastoreMoref: destination.datastoreMoref,
      vmName: row.finalVmName,
      vmMoref: row.finalVmMoref,
      shadowVmMoref: row.shadowVmMoref,
      shadowVmAddress: row.shadowVmAddress,
    },
    status: row.status as Status,
    state: row.state as State,
    reason: row.reason as VmMigration['reason'],
    failure: row.failure as VmMigration['failure'],
    ...lineOf(row, migration, ahead),
    settings: {
      desired: effectiveDials(row.settings as Dials | null, migration.settings as unknown as Dials),
      inForce: row.dialsInForce as Dials | null,
    },
    disks: row.disks.map(toDisk),
    progress: row.progress as VmMigration['progress'],
    ready: row.ready,
    paused: row.paused,
    held: row.held,
    decision: row.decision as VmMigration['decision'],
    projection: row.projection as VmMigration['projection'],
    risks: row.risks as VmMigration['risks'],
    warnings: row.warnings as VmMigration['warnings'],
    downtime: toDowntime(row),
    createdAt: row.createdAt.toISOString(),
    startedAt: iso(row.startedAt),
    readyAt: iso(row.readyAt),
    endedAt: iso(row.endedAt),
  };
}

export function toSample(row: Sample): z.infer<typeof sample> {
  const { at, copiedBytes, remainingBytes, dirtyBytes, sentBytes, wireBytes, ...rates } = row;
  return { at: at.toISOString(), copiedBytes, remainingBytes, dirtyBytes, sentBytes, wireBytes, rates };
}

function toDisk(row: Disk): DiskMigration {
  return {
    id: row.id,
    label: row.label,
    sourceUuid: row.sourceUuid,
    destinationUuid: row.destinationUuid,
    capacityBytes: row.capacityBytes.toString(),
    backgroundState: row.backgroundState as BackgroundState,
    progress: row.progress as DiskMigration['progress'],
  };
}

function toDowntime(row: VmMigrationRow): VmMigration['downtime'] {
  const { stopRequestedAt, poweredOffAt, frozenAt, handedOverAt, poweredOnAt, guestReadyAt } = row;
  if (stopRequestedAt === null && poweredOffAt === null && frozenAt === null) return null;
  const from = stopRequestedAt ?? poweredOffAt;
  return {
    totalMs: from === null || guestReadyAt === null ? null : guestReadyAt.getTime() - from.getTime(),
    dataPathMs: row.dataPathMs,
    stopRequestedAt: iso(stopRequestedAt),
    poweredOffAt: iso(poweredOffAt),
    frozenAt: iso(frozenAt),
    handedOverAt: iso(handedOverAt),
    poweredOnAt: iso(poweredOnAt),
    guestReadyAt: iso(guestReadyAt),
  };
}

function iso(time: Date | null): string | null {
  return time?.toISOString() ?? null;
}
