// The migration of one VM: how it stands, its samples and receipt, its settings, and the commands to it.
import { z } from 'zod';
import {
  actionAccepted,
  changeSettingsRequest,
  receipt,
  sampleList,
  sampleQuery,
  vmMigration,
  vmMigrationId,
} from '../../contracts/rest.ts';
import { getReceipt, getVmMigration, listSamples } from '../../db/index.ts';
import { accepted, defineRoute, ok, type Route } from '../http/route.ts';
import { changeVmSettings } from '../migrations/change-settings.ts';
import { commandAudited } from '../migrations/command-audited.ts';
import { toSample, toVmMigration } from '../migrations/views.ts';
import type { VmAction } from '../migrations/workflow-gateway.ts';

const pathParameters = z.strictObject({ vmMigrationId });

const showRoute = defineRoute({
  method: 'get',
  path: '/api/v1/vm-migrations/{vmMigrationId}',
  tag: 'Migrations',
  operationId: 'getVmMigration',
  summary: 'See one VM’s migration',
  scope: 'migrations:read',
  params: pathParameters,
  responses: { 200: { description: 'State, settings, disks and the newest progress', schema: vmMigration } },
  problems: ['NOT_FOUND'],
  async handler({ params }, { services }) {
    const row = await getVmMigration(services.database.prisma, params.vmMigrationId);
    return ok(toVmMigration(row, row.migration));
  },
});

const samplesRoute = defineRoute({
  method: 'get',
  path: '/api/v1/vm-migrations/{vmMigrationId}/samples',
  tag: 'Migrations',
  operationId: 'listSamples',
  summary: 'See how the progress went',
  description: 'Once a second while it replicated, oldest first.',
  scope: 'migrations:read',
  params: pathParameters,
  query: sampleQuery,
  responses: { 200: { description: 'The samples', schema: sampleList } },
  problems: ['NOT_FOUND'],
  async handler({ params, query }, { services }) {
    await getVmMigration(services.database.prisma, params.vmMigrationId);
    const samples = await listSamples(services.database.pool, params.vmMigrationId, {
      limit: query.limit,
      ...(query.from === undefined ? {} : { from: new Date(query.from) }),
      ...(query.until === undefined ? {} : { until: new Date(query.until) }),
    });
    return ok({ items: samples.map(toSample) });
  },
});

const receiptRoute = defineRoute({
  method: 'get',
  path: '/api/v1/vm-migrations/{vmMigrationId}/receipt',
  tag: 'Migrations',
  operationId: 'getReceipt',
  summary: 'Get the receipt',
  description:
    'Signed proof that each destination disk equalled its source disk at hand-over. `landfall verify` checks it.',
  scope: 'migrations:read',
  params: pathParameters,
  responses: { 200: { description: 'The signed document', schema: receipt } },
  problems: ['NOT_FOUND'],
  async handler({ params }, { services }) {
    const row = await getReceipt(services.database.prisma, params.vmMigrationId);
    return ok(JSON.parse(row.document));
  },
});

const settingsRoute = defineRoute({
  method: 'patch',
  path: '/api/v1/vm-migrations/{vmMigrationId}/settings',
  tag: 'Migrations',
  operationId: 'changeSettings',
  summary: 'Change the settings',
  description: 'What is named is changed and in force within a second; `settings.inForce` then says so.',
  scope: 'migrations:write',
  params: pathParameters,
  body: changeSettingsRequest,
  responses: { 200: { description: 'The migration with its new desired settings', schema: vmMigration } },
  problems: ['NOT_FOUND', 'ALREADY_ENDED', 'FINAL_UNDER_WAY'],
  async handler({ params, body }, context) {
    const row = await changeVmSettings(params.vmMigrationId, body, context);
    return ok(toVmMigration(row, row.migration));
  },
});

const actions: readonly {
  readonly action: VmAction;
  readonly operationId: string;
  readonly summary: string;
  readonly description: string;
}[] = [
  {
    action: 'final-migration',
    operationId: 'finalMigration',
    summary: 'Begin the final migration',
    description:
      'Refused until the state is `Ready for final migration`. The source guest is shut down, the rest is sent, the disks are compared and the VM is built at the destination.',
  },
  {
    action: 'terminate',
    operationId: 'terminateVmMigration',
    summary: 'Terminate one VM’s migration',
    description: 'What was made is undone and the source VM runs on. Refused from the hand-over on.',
  },
  {
    action: 'shut-down-guest',
    operationId: 'shutDownGuest',
    summary: 'Shut down the guest',
    description: 'Asks the guest system of the source VM to shut down; replication goes on.',
  },
];

const actionRoutes = actions.map(({ action, ...text }) =>
  defineRoute({
    method: 'post',
    path: `/api/v1/vm-migrations/{vmMigrationId}/actions/${action}`,
    tag: 'Migrations',
    ...text,
    scope: 'migrations:write',
    params: pathParameters,
    responses: { 202: { description: 'Accepted; the state follows', schema: actionAccepted } },
    problems: [
      'NOT_FOUND',
      'ALREADY_ENDED',
      'PHASE_DISALLOWS',
      'FINAL_NOT_READY',
      'FINAL_UNDER_WAY',
      'WORKFLOW_ENGINE_UNAVAILABLE',
    ],
    async handler({ params }, context) {
      const id = params.vmMigrationId;
      const { endedAt } = await getVmMigration(context.services.database.prisma, id);
      await commandAudited(context, { action: `vm-migration.${action}`, kind: 'vm-migration', id, endedAt }, () =>
        context.services.workflows.command(id, action, context.principal.id),
      );
      return accepted({ id, action, accepted: true }, `/api/v1/vm-migrations/${id}`);
    },
  }),
);

export const vmMigrationRoutes: readonly Route[] = [
  showRoute,
  samplesRoute,
  receiptRoute,
  settingsRoute,
  ...actionRoutes,
];
