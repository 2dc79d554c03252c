/** Migrations: what was asked for, and the members it has. Members' own changes stand in vm-migrations.ts. */
import {
  MigrationError,
  defaultDials,
  limits,
  manualFinal,
  noObjectives,
  type Destination,
  type Dials,
  type FinalPolicy,
  type MigrationKind,
  type MigrationOptions,
  type Objectives,
} from '../core/index.ts';
import type { Disk, Migration, VmMigration } from '../generated/prisma/client.ts';
import { found, isUniqueViolation, json, jsonOrNull, type Db } from './database.ts';
import { recordEvent } from './events.ts';
import { newId } from './new-id.ts';

export type { Migration };

export interface NewDisk {
  readonly label: string;
  readonly sourceUuid: string;
  readonly sourcePath: string;
  readonly deviceKey: number;
  readonly controllerKey: number;
  readonly unitNumber: number;
  readonly capacityBytes: bigint;
  readonly provisioning: 'thin' | 'lazy' | 'eager';
}

export interface NewMember {
  readonly sourceSiteId: string;
  readonly vmMoref: string;
  readonly vmInstanceUuid: string;
  readonly vmName: string;
  readonly sourceHostMoref: string | null;
  readonly warnings: readonly { readonly code: string; readonly message: string }[];
  readonly settings: Dials | null;
  readonly disks: readonly NewDisk[];
}

export interface NewMigration {
  /** A new one unless given. */
  readonly id?: string;
  readonly kind: MigrationKind;
  readonly final?: FinalPolicy;
  readonly concurrency?: number;
  readonly priority?: number;
  readonly objectives?: Objectives;
  readonly destination: Destination;
  readonly settings?: Dials;
  readonly options?: MigrationOptions;
  readonly requestedBy: string;
  readonly members: readonly NewMember[];
}

export type MigrationWithMembers = Migration & { vmMigrations: (VmMigration & { disks: Disk[] })[] };

export const defaultOptions: MigrationOptions = {
  shutDown: { timeoutSeconds: limits.shutDownTimeoutSeconds, onTimeout: 'wait' },
};

/**
 * Writes a migration with members and disks and says so. Call it in a transaction together with the audit
 * row. Throws VM_ALREADY_MIGRATING when a member takes part in another migration.
 */
export async function createMigration(db: Db, wanted: NewMigration): Promise<MigrationWithMembers> {
  const { id = newId('mig') } = wanted;
  await db.migration.create({
    data: {
      id,
      kind: wanted.kind,
      status: 'Queued',
      final: json(wanted.final ?? manualFinal),
      concurrency: wanted.concurrency ?? (wanted.kind === 'group' ? limits.vmsPerMigrationMax : 1),
      priority: wanted.priority ?? limits.priorityDefault,
      objectives: json(wanted.objectives ?? noObjectives),
      destination: json(wanted.destination),
      settings: json(wanted.settings ?? defaultDials),
      options: json(wanted.options ?? defaultOptions),
      requestedBy: wanted.requestedBy,
    },
  });
  for (const [position, member] of wanted.members.entries()) {
    await createMember(db, id, wanted.destination.siteId, member, position);
  }
  await recordEvent(db, 'migration.created', { migrationId: id, data: { members: wanted.members.length } });
  return getMigration(db, id);
}

/**
 * Not `announced` is one whose queue runs and has to be told. Throws VM_ALREADY_MIGRATING when the VM takes part in a
 * migration that has not ended.
 */
export async function createMember(
  db: Db,
  migrationId: string,
  destinationSiteId: string,
  member: NewMember,
  position: number,
  { id = newId('vmm'), announced = true }: { readonly id?: string; readonly announced?: boolean } = {},
): Promise<string> {
  const { disks, settings, warnings, ...vm } = member;
  try {
    await db.vmMigration.create({
      data: {
        id,
        migrationId,
        position,
        announced,
        ...vm,
        destinationSiteId,
        status: 'Queued',
        state: 'Task Queued',
        step: 'queued',
        warnings: json(warnings),
        settings: jsonOrNull(settings),
        disks: { create: disks.map((disk, index) => ({ id: newId('disk'), position: index, ...disk })) },
      },
    });
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new MigrationError('VM_ALREADY_MIGRATING', `${member.vmName} takes part in a migration already`);
  }
  return id;
}

export async function getMigration(db: Db, id: string): Promise<MigrationWithMembers> {
  return found(await findMigration(db, id), 'migration', id);
}

export async function findMigration(db: Db, id: string): Promise<MigrationWithMembers | null> {
  return db.migration.findUnique({
    where: { id },
    include: {
      vmMigrations: { orderBy: { position: 'asc' }, include: { disks: { orderBy: { position: 'asc' } } } },
    },
  });
}

/** Newest first; `beforeId` continues after the last one of the page before. */
export function listMigrations(db: Db, limit: number, beforeId?: string): Promise<MigrationWithMembers[]> {
  return db.migration.findMany({
    ...(beforeId === undefined ? {} : { where: { id: { lt: beforeId } } }),
    orderBy: { id: 'desc' },
    take: Math.min(limit, limits.pageSizeMax),
    include: {
      vmMigrations: { orderBy: { position: 'asc' }, include: { disks: { orderBy: { position: 'asc' } } } },
    },
  });
}
