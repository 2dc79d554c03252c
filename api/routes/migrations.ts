// Migrations as they were asked for: start one, see them, end one.
import { z } from 'zod';
import {
  actionAccepted,
  addMembersRequest,
  changeMigrationRequest,
  finalMigrationRequest,
  migration,
  migrationId,
  migrationPage,
  pageQuery,
  queueChange,
  startMigrationRequest,
} from '../../contracts/rest.ts';
import { MigrationError } from '../../core/index.ts';
import { getMigration, listMigrations } from '../../db/index.ts';
import { accepted, defineRoute, ok, type HandlerContext, type Route } from '../http/route.ts';
import { commandAudited, commanderOf } from '../migrations/command-audited.ts';
import { addMembers } from '../migrations/add-members.ts';
import { changeMigration } from '../migrations/change-migration.ts';
import { refusePausedSites } from '../migrations/check-paused.ts';
import { checkObjectives } from '../migrations/check-objectives.ts';
import { startMigration } from '../migrations/start-migration.ts';
import type { Action } from '../migrations/workflow-gateway.ts';
import { toQueueChange } from '../migrations/queue-change.ts';
import { toMigration } from '../migrations/views.ts';
import { defineAction, noWords, type ActionText } from './action-route.ts';
import { pageFrom } from './page.ts';

const pathParameters = z.strictObject({ migrationId });

const startRoute = defineRoute({
  method: 'post',
  path: '/api/v1/migrations',
  tag: 'Migrations',
  operationId: 'startMigration',
  summary: 'Start a migration',
  description:
    'Everything is checked before anything is stored: sites and cluster, each VM, datastore, networks and free space. ' +
    'The answer comes when the migration stands in the records and its workflow is started.',
  scope: 'migrations:write',
  body: startMigrationRequest,
  responses: { 202: { description: 'Started', schema: migration, headers: { Location: 'Address of the migration' } } },
  problems: [
    'NOT_FOUND',
    'CLUSTER_NOT_CONFIGURED',
    'VM_NOT_ELIGIBLE',
    'VM_ALREADY_MIGRATING',
    'NETWORK_UNKNOWN',
    'DATASTORE_UNKNOWN',
    'DATASTORE_FULL',
    'DESTINATION_OLDER',
    'ADMISSION_TOO_SMALL',
    'VSPHERE_UNREACHABLE',
    'VSPHERE_LOGIN_FAILED',
    'WORKFLOW_ENGINE_UNAVAILABLE',
  ],
  async handler({ body }, context) {
    const started = await startMigration(body, context);
    return accepted(toMigration(started), `/api/v1/migrations/${started.id}`);
  },
});

const listRoute = defineRoute({
  method: 'get',
  path: '/api/v1/migrations',
  tag: 'Migrations',
  operationId: 'listMigrations',
  summary: 'List migrations',
  description: 'Newest first.',
  scope: 'migrations:read',
  query: pageQuery,
  responses: { 200: { description: 'A page of migrations', schema: migrationPage } },
  problems: [],
  async handler({ query }, { services }) {
    const rows = await listMigrations(services.database.prisma, query.limit, query.cursor);
    return ok(pageFrom(rows, query.limit, toMigration));
  },
});

const showRoute = defineRoute({
  method: 'get',
  path: '/api/v1/migrations/{migrationId}',
  tag: 'Migrations',
  operationId: 'getMigration',
  summary: 'See a migration',
  scope: 'migrations:read',
  params: pathParameters,
  responses: { 200: { description: 'The migration with its VMs', schema: migration } },
  problems: ['NOT_FOUND'],
  async handler({ params }, { services }) {
    return ok(toMigration(await getMigration(services.database.prisma, params.migrationId)));
  },
});

const changeRoute = defineRoute({
  method: 'patch',
  path: '/api/v1/migrations/{migrationId}',
  tag: 'Migrations',
  operationId: 'changeMigration',
  summary: 'Change a migration while it runs',
  description:
    'Rules of the final, objectives, runbook, priority, settings of all members, shut-down. What is named is changed.',
  scope: 'migrations:write',
  params: pathParameters,
  body: changeMigrationRequest,
  responses: { 200: { description: 'The migration as it is now', schema: migration } },
  problems: ['NOT_FOUND', 'ALREADY_ENDED', 'PHASE_DISALLOWS', 'FINAL_UNDER_WAY'],
  async handler({ params, body }, context) {
    return ok(toMigration(await changeMigration(params.migrationId, body, context)));
  },
});

const queueRoute = defineRoute({
  method: 'post',
  path: '/api/v1/migrations/{migrationId}/queue',
  tag: 'Migrations',
  operationId: 'changeQueue',
  summary: 'Change the queue of an independent migration',
  description: 'Moves, holds, lets go or removes a member that waits, or sets how many run at once.',
  scope: 'migrations:write',
  params: pathParameters,
  body: queueChange,
  responses: { 202: { description: 'Accepted; the order follows', schema: actionAccepted } },
  problems: ['NOT_FOUND', 'ALREADY_ENDED', 'PHASE_DISALLOWS', 'MEMBER_NOT_WAITING', 'WORKFLOW_ENGINE_UNAVAILABLE'],
  async handler({ params, body }, context) {
    const id = params.migrationId;
    const { endedAt, kind } = await getMigration(context.services.database.prisma, id);
    const change = toQueueChange(body);
    const target = { action: `migration.queue-${change.kind}`, kind: 'migration', id, endedAt } as const;
    await commandAudited(context, target, async () => {
      if (kind !== 'independent') throw new MigrationError('PHASE_DISALLOWS', 'A group has no queue.');
      await context.services.workflows.changeQueue(id, change, commanderOf(context));
    });
    return accepted({ id, action: change.kind, accepted: true }, `/api/v1/migrations/${id}`);
  },
});

const addRoute = defineRoute({
  method: 'post',
  path: '/api/v1/migrations/{migrationId}/members',
  tag: 'Migrations',
  operationId: 'addMembers',
  summary: 'Add VMs to the queue of an independent migration',
  description: 'They are checked like those of a new migration and wait at the end of the queue.',
  scope: 'migrations:write',
  params: pathParameters,
  body: addMembersRequest,
  responses: { 202: { description: 'Added', schema: migration, headers: { Location: 'Address of the migration' } } },
  problems: [
    'NOT_FOUND',
    'ALREADY_ENDED',
    'PHASE_DISALLOWS',
    'CLUSTER_NOT_CONFIGURED',
    'VM_NOT_ELIGIBLE',
    'VM_ALREADY_MIGRATING',
    'NETWORK_UNKNOWN',
    'DATASTORE_UNKNOWN',
    'DATASTORE_FULL',
    'DESTINATION_OLDER',
    'VSPHERE_UNREACHABLE',
    'VSPHERE_LOGIN_FAILED',
    'WORKFLOW_ENGINE_UNAVAILABLE',
  ],
  async handler({ params, body }, context) {
    const id = params.migrationId;
    return accepted(toMigration(await addMembers(id, body.vms, context)), `/api/v1/migrations/${id}`);
  },
});

interface GroupAction extends ActionText {
  readonly action: Action;
  /** VMs of an independent migration are given it one by one. */
  readonly groupOnly?: boolean;
}

const actions: readonly GroupAction[] = [
  {
    action: 'terminate',
    operationId: 'terminateMigration',
    summary: 'Terminate a migration',
    description: 'Ends every member that has not ended and undoes what was made. The source VMs run on.',
  },
  {
    action: 'shut-down-guest',
    operationId: 'shutDownGuestsOfGroup',
    summary: 'Shut down the guests of a group',
    description: 'Asks the guest systems of all source VMs to shut down; replication goes on.',
    groupOnly: true,
  },
  {
    action: 'pause',
    operationId: 'pauseMigration',
    summary: 'Pause a migration',
    description: 'No further member begins, and those that are under way stand still.',
  },
  {
    action: 'resume',
    operationId: 'resumeMigration',
    summary: 'Resume a migration',
    description: 'All members go on where they were.',
  },
];

const findTarget = (params: { readonly migrationId: string }, { services }: HandlerContext) =>
  getMigration(services.database.prisma, params.migrationId);

const actionRoutes = actions.map(({ groupOnly, ...text }) =>
  defineAction({
    ...text,
    of: 'migration',
    params: pathParameters,
    body: noWords,
    problems: ['FINAL_UNDER_WAY'],
    find: findTarget,
    async give({ id, kind }, _words, context) {
      if (groupOnly === true) requireGroup(kind);
      await context.services.workflows.command(id, text.action, commanderOf(context));
    },
  }),
);

const finalRoute = defineAction({
  of: 'migration',
  action: 'final-migration',
  operationId: 'finalMigrationOfGroup',
  summary: 'Begin the final migration of a group',
  description:
    'All members are stopped in the order of the runbook, compared, and only then handed over. If one cannot be, all of them run on at the source.',
  params: pathParameters,
  body: finalMigrationRequest,
  problems: ['FINAL_NOT_READY', 'FINAL_UNDER_WAY', 'GROUP_HELD', 'OBJECTIVE_NOT_MET'],
  find: findTarget,
  async give(row, { anyway }, context) {
    requireGroup(row.kind);
    const members = row.vmMigrations.filter(({ endedAt }) => endedAt === null);
    await refusePausedSites(members, context.services);
    if (!anyway) checkObjectives(members, row);
    await context.services.workflows.command(row.id, 'final-migration', commanderOf(context));
  },
});

function requireGroup(kind: string): void {
  if (kind === 'group') return;
  throw new MigrationError('PHASE_DISALLOWS', 'VMs of an independent migration are given this one by one.');
}

export const migrationRoutes: readonly Route[] = [
  startRoute,
  listRoute,
  showRoute,
  changeRoute,
  queueRoute,
  addRoute,
  finalRoute,
  ...actionRoutes,
];
