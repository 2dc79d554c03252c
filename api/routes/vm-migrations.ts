// The migration of one VM: how it stands, its samples and receipt, its settings, and the commands to it.
import { z } from 'zod';
import {
  actionAccepted,
  changeSettingsRequest,
  finalMigrationRequest,
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
import { checkObjectives } from '../migrations/check-objectives.ts';
import type { Action } from '../migrations/workflow-gateway.ts';

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
  readonly action: Action;
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
  {
    action: 'pause',
    operationId: 'pauseVmMigration',
    summary: 'Pause one VM’s migration',
    description: 'Replication stands still and no further step begins. Refused in a final migration.',
  },
  {
    action: 'resume',
    operationId: 'resumeVmMigration',
    summary: 'Resume one VM’s migration',
    description: 'It goes on where it was.',
  },
  {
    action: 'retry',
    operationId: 'retryVmMigration',
    summary: 'Retry one VM’s migration',
    description: 'Goes on from the step that failed, with the settings as they are now. Refused unless it has failed.',
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
    body: finalMigrationRequest,
    responses: { 202: { description: 'Accepted; the state follows', schema: actionAccepted } },
    problems: [
      'NOT_FOUND',
      'OBJECTIVE_NOT_MET',
      'ALREADY_ENDED',
      'PHASE_DISALLOWS',
      'FINAL_NOT_READY',
      'FINAL_UNDER_WAY',
      'WORKFLOW_ENGINE_UNAVAILABLE',
    ],
    async handler({ params, body }, context) {
      const id = params.vmMigrationId;
      const row = await getVmMigration(context.services.database.prisma, id);
      const target = { action: `vm-migration.${action}`, kind: 'vm-migration', id, endedAt: row.endedAt } as const;
      await commandAudited(context, target, async () => {
        if (action === 'final-migration' && !body.anyway) checkObjectives([row], row.migration);
        await context.services.workflows.command(id, action, context.principal.id);
      });
      return accepted({ id, action, accepted: true }, `/api/v1/vm-migrations/${id}`);
    },
  }),
);

const decisions = [
  {
    decision: 'wait',
    operationId: 'waitForMember',
    summary: 'Let the group wait for this VM',
    description: 'For a member that failed: the group’s final migration waits until its retry has made it ready.',
  },
  {
    decision: 'go-on-without',
    operationId: 'goOnWithoutMember',
    summary: 'Let the group go on without this VM',
    description: 'The group’s final migration does not wait for this member any more; it stays as it is.',
  },
] as const;

const decisionRoutes = decisions.map(({ decision, ...text }) =>
  defineRoute({
    method: 'post',
    path: `/api/v1/vm-migrations/{vmMigrationId}/actions/${decision}`,
    tag: 'Migrations',
    ...text,
    scope: 'migrations:write',
    params: pathParameters,
    responses: { 202: { description: 'Accepted; the state follows', schema: actionAccepted } },
    problems: ['NOT_FOUND', 'ALREADY_ENDED', 'PHASE_DISALLOWS', 'FINAL_UNDER_WAY', 'WORKFLOW_ENGINE_UNAVAILABLE'],
    async handler({ params }, context) {
      const id = params.vmMigrationId;
      const { migration } = await getVmMigration(context.services.database.prisma, id);
      const target = {
        action: `vm-migration.${decision}`,
        kind: 'vm-migration',
        id,
        endedAt: migration.endedAt,
      } as const;
      await commandAudited(context, target, () =>
        context.services.workflows.decideMember(migration.id, id, decision, context.principal.id),
      );
      return accepted({ id, action: decision, accepted: true }, `/api/v1/migrations/${migration.id}`);
    },
  }),
);

export const vmMigrationRoutes: readonly Route[] = [
  showRoute,
  samplesRoute,
  receiptRoute,
  settingsRoute,
  ...actionRoutes,
  ...decisionRoutes,
];
