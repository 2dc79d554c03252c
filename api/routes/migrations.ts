// Migrations as they were asked for: start one, see them, end one.
import { z } from 'zod';
import {
  actionAccepted,
  migration,
  migrationId,
  migrationPage,
  pageQuery,
  startMigrationRequest,
} from '../../contracts/rest.ts';
import { getMigration, listMigrations } from '../../db/index.ts';
import { accepted, defineRoute, ok, type Route } from '../http/route.ts';
import { commandAudited } from '../migrations/command-audited.ts';
import { startMigration } from '../migrations/start-migration.ts';
import { toMigration } from '../migrations/views.ts';
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

const terminateRoute = defineRoute({
  method: 'post',
  path: '/api/v1/migrations/{migrationId}/actions/terminate',
  tag: 'Migrations',
  operationId: 'terminateMigration',
  summary: 'Terminate a migration',
  description: 'Ends every member that has not ended and undoes what was made. The source VMs run on.',
  scope: 'migrations:write',
  params: pathParameters,
  responses: { 202: { description: 'Accepted; the state follows', schema: actionAccepted } },
  problems: ['NOT_FOUND', 'ALREADY_ENDED', 'PHASE_DISALLOWS', 'WORKFLOW_ENGINE_UNAVAILABLE'],
  async handler({ params }, context) {
    const id = params.migrationId;
    const row = await getMigration(context.services.database.prisma, id);
    await commandAudited(context, { action: 'migration.terminate', kind: 'migration', id, endedAt: row.endedAt }, () =>
      context.services.workflows.terminateMigration(id, context.principal.id),
    );
    return accepted({ id, action: 'terminate', accepted: true }, `/api/v1/migrations/${id}`);
  },
});

export const migrationRoutes: readonly Route[] = [startRoute, listRoute, showRoute, terminateRoute];
