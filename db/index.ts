/**
 * Records in Postgres: repositories, the migration runner, sealed credentials, events. The only way into
 * this folder. It must not know Temporal, vSphere or HTTP. Start reading at `database.ts`, then
 * `prisma/schema.prisma`.
 */
export * from './agents.ts';
export * from './alarms.ts';
export * from './audit.ts';
export * from './away.ts';
export * from './clusters.ts';
export * from './database.ts';
export * from './disks.ts';
export * from './events.ts';
export { holdPresence, type Presence } from './presence.ts';
export * from './idempotency.ts';
export * from './migrate.ts';
export * from './migrations.ts';
export * from './new-id.ts';
export * from './outlook.ts';
export * from './owned-objects.ts';
export * from './phases.ts';
export * from './queues.ts';
export * from './receipts.ts';
export * from './samples.ts';
export * from './sealing.ts';
export * from './settings.ts';
export * from './sites.ts';
export * from './tokens.ts';
export * from './vm-migrations.ts';
