// The migration of one VM: how it stands, its samples and receipt, its settings, and the commands to it.
import { z } from 'zod';
import {
  changeSettingsRequest,
  finalMigrationRequest,
  receipt,
  retryRequest,
  sampleList,
  sampleQuery,
  vmMigration,
  vmMigrationId,
} from '../../contracts/rest.ts';
import { MigrationError, type MemberDecision } from '../../core/index.ts';
import { countAhead, getReceipt, getVmMigration, listSamples } from '../../db/index.ts';
import { defineRoute, ok, type HandlerContext, type Route } from '../http/route.ts';
import { changeVmSettings } from '../migrations/change-settings.ts';
import { checkRetry } from '../migrations/retry.ts';
import { toSample, toVmMigration } from '../migrations/views.ts';
import { refusePausedSites } from '../migrations/check-paused.ts';
import { checkObjectives } from '../migrations/check-objectives.ts';
import { commanderOf } from '../migrations/command-audited.ts';
import type { Action } from '../migrations/workflow-gateway.ts';
import { defineAction, noWords, type ActionText } from './action-route.ts';

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
    return ok(toVmMigration(row, row.migration, await countAhead(services.database.prisma, row)));
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
    return ok(toVmMigration(row, row.migration, await countAhead(context.services.database.prisma, row)));
  },
});

const findTarget = (params: { readonly vmMigrationId: string }, { services }: HandlerContext) =>
  getVmMigration(services.database.prisma, params.vmMigrationId);

const finalRoute = defineAction({
  of: 'vm-migration',
  action: 'final-migration',
  operationId: 'finalMigration',
  summary: 'Begin the final migration',
  description:
    'Refused until the state is `Ready for final migration`. The source guest is shut down, the rest is sent, the disks are compared and the VM is built at the destination.',
  params: pathParameters,
  body: finalMigrationRequest,
  problems: ['FINAL_NOT_READY', 'FINAL_UNDER_WAY', 'OBJECTIVE_NOT_MET'],
  find: findTarget,
  async give(row, { anyway }, context) {
    await refusePausedSites([row], context.services);
    if (!anyway) checkObjectives([row], row.migration);
    await context.services.workflows.command(row.id, 'final-migration', commanderOf(context));
  },
});

const actions: readonly (ActionText & { readonly action: Action })[] = [
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
];

const actionRoutes = actions.map((text) =>
  defineAction({
    ...text,
    of: 'vm-migration',
    params: pathParameters,
    body: noWords,
    problems: ['FINAL_UNDER_WAY'],
    find: findTarget,
    give: ({ id }, _words, context) => context.services.workflows.command(id, text.action, commanderOf(context)),
  }),
);

const retryRoute = defineAction({
  of: 'vm-migration',
  action: 'retry',
  operationId: 'retryVmMigration',
  summary: 'Retry one VM’s migration',
  description:
    'Goes on from the step that failed, with what is changed here. At another place it begins anew there, after what was built at the old one is undone. ' +
    'Refused unless it has failed, and for another cluster or datastore when data are at the old one.',
  params: pathParameters,
  body: retryRequest,
  problems: [
    'NETWORK_UNKNOWN',
    'DATASTORE_UNKNOWN',
    'DATASTORE_FULL',
    'DESTINATION_OLDER',
    'VM_NOT_ELIGIBLE',
    'VSPHERE_NOT_FOUND',
    'VSPHERE_UNREACHABLE',
    'VSPHERE_LOGIN_FAILED',
  ],
  find: findTarget,
  async give(row, wanted, context) {
    const change = await checkRetry(row, wanted, context.services);
    await context.services.workflows.retry(row.id, change, commanderOf(context));
  },
});

const decisions: readonly (ActionText & { readonly action: MemberDecision })[] = [
  {
    action: 'wait',
    operationId: 'waitForMember',
    summary: 'Let the group wait for this VM',
    description: 'For a member that failed: the group’s final migration waits until its retry has made it ready.',
  },
  {
    action: 'go-on-without',
    operationId: 'goOnWithoutMember',
    summary: 'Let the group go on without this VM',
    description: 'The group’s final migration does not wait for this member any more; it stays as it is.',
  },
];

const decisionRoutes = decisions.map((text) =>
  defineAction({
    ...text,
    of: 'vm-migration',
    params: pathParameters,
    body: noWords,
    problems: ['FINAL_UNDER_WAY'],
    // A member may have ended; its group must not have.
    async find({ vmMigrationId: id }, { services }) {
      const { migration } = await getVmMigration(services.database.prisma, id);
      return { id, migration, endedAt: migration.endedAt };
    },
    async give({ id, migration }, _words, context) {
      if (migration.kind !== 'group') throw new MigrationError('PHASE_DISALLOWS', 'It is not a member of a group.');
      await context.services.workflows.decideMember(migration.id, id, text.action, commanderOf(context));
    },
  }),
);

export const vmMigrationRoutes: readonly Route[] = [
  showRoute,
  samplesRoute,
  receiptRoute,
  settingsRoute,
  finalRoute,
  retryRoute,
  ...actionRoutes,
  ...decisionRoutes,
];
