// Alarms: what a person should look at now, and what was. They are raised and ended by what they speak of.
import { z } from 'zod';
import { alarm, alarmId, alarmPage, alarmQuery, type Alarm } from '../../contracts/rest.ts';
import type { AlarmKind } from '../../core/index.ts';
import { acknowledgeAlarm, listAlarms, recordAudit, type AlarmDetails } from '../../db/index.ts';
import { defineRoute, ok, type Route } from '../http/route.ts';
import { pageFrom } from './page.ts';

const listRoute = defineRoute({
  method: 'get',
  path: '/api/v1/alarms',
  tag: 'Alarms',
  operationId: 'listAlarms',
  summary: 'List open alarms',
  description: 'Newest first. The live stream carries them as `alarm.raised` and `alarm.cleared`.',
  scope: 'migrations:read',
  query: alarmQuery,
  responses: { 200: { description: 'A page of alarms', schema: alarmPage } },
  problems: [],
  async handler({ query }, { services }) {
    const { limit, cursor, all } = query;
    const filter = { all: all === 'true', limit, beforeId: cursor };
    const rows = await listAlarms(services.database.prisma, filter);
    return ok(pageFrom(rows, limit, toAlarm));
  },
});

const acknowledgeRoute = defineRoute({
  method: 'post',
  path: '/api/v1/alarms/{alarmId}/actions/acknowledge',
  tag: 'Alarms',
  operationId: 'acknowledgeAlarm',
  summary: 'Say that an alarm was seen',
  description: 'It ends. An objective that is still missed calls again.',
  scope: 'migrations:write',
  params: z.strictObject({ alarmId }),
  responses: { 200: { description: 'The alarm, ended', schema: alarm } },
  problems: ['NOT_FOUND'],
  async handler({ params }, { services, principal, requestId }) {
    const row = await acknowledgeAlarm(services.database, params.alarmId);
    await recordAudit(services.database.prisma, {
      principalId: principal.id,
      action: 'alarm.acknowledge',
      targetKind: 'alarm',
      targetId: row.id,
      outcome: 'done',
      requestId,
    });
    return ok(toAlarm(row));
  },
});

function toAlarm(row: AlarmDetails): Alarm {
  const { id, code, migrationId, vmMigrationId, message, raisedAt, breachedSince, clearedAt } = row;
  return {
    id,
    kind: row.kind as AlarmKind,
    code,
    migrationId,
    vmMigrationId,
    vmName: row.vmMigration.vmName,
    message,
    help: row.help as string[],
    raisedAt: (raisedAt ?? breachedSince).toISOString(),
    clearedAt: clearedAt?.toISOString() ?? null,
  };
}

export const alarmRoutes: readonly Route[] = [listRoute, acknowledgeRoute];
