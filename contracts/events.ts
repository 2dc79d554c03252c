// What the event stream (SSE) carries: small notices that something changed, with the ids to read it by.
// Never the changed thing itself: a reader fetches that, so the stream stays small and holds no secret.
import { z } from 'zod';
import { timestamp } from './rest-common.ts';

export const event = z
  .object({
    id: z.string().describe('Grows with time; give it back as Last-Event-ID to resume'),
    type: z.string().describe('Such as `vm-migration.state-changed`'),
    at: timestamp,
    migrationId: z.string().nullable(),
    vmMigrationId: z.string().nullable(),
    data: z.record(z.string(), z.unknown()).describe('Small facts of the change, such as the new state'),
  })
  .meta({ id: 'Event' });

export const eventQuery = z.strictObject({
  id: z.string().max(120).optional().describe('Only events of this migration or VM migration'),
  lastEventId: z
    .string()
    .regex(/^\d{1,18}$/)
    .optional()
    .describe('Same as the header Last-Event-ID; `0` = from the oldest kept'),
});

export type Event = z.infer<typeof event>;
