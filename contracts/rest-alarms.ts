// REST shapes of alarms: what a person should look at. Raised once per breach, ended when it fits again.
import { z } from 'zod';
import { alarmKinds } from '../core/index.ts';
import { alarmId, migrationId, pageOf, pageQuery, timestamp, vmMigrationId } from './rest-common.ts';

export const alarm = z
  .object({
    id: alarmId,
    kind: z.enum(alarmKinds),
    code: z.string().describe('Which objective is at risk, or the code of the error'),
    migrationId,
    vmMigrationId,
    vmName: z.string(),
    message: z.string().describe('What does not fit, and which part of it'),
    help: z.array(z.string()).describe('What could help'),
    raisedAt: timestamp,
    clearedAt: timestamp.nullable(),
  })
  .meta({ id: 'Alarm' });

export const alarmQuery = pageQuery.extend({
  all: z.enum(['true', 'false']).default('false').describe('Also those that have ended'),
});
export const alarmPage = pageOf(alarm, 'AlarmPage');

export type Alarm = z.infer<typeof alarm>;
