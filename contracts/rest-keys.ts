// REST shapes of the keys that workflow payloads are encrypted with: which there are, never the keys themselves.
import { z } from 'zod';
import { timestamp } from './rest-common.ts';

export const payloadKey = z
  .object({
    id: z.string().describe('Stands beside every payload that was encrypted with it'),
    createdAt: timestamp.nullable(),
    newest: z.boolean().describe('New payloads are encrypted with it; the others still open old ones'),
  })
  .meta({ id: 'PayloadKey' });

export const payloadKeyList = z.object({ items: z.array(payloadKey) }).meta({ id: 'PayloadKeyList' });

export type PayloadKey = z.infer<typeof payloadKey>;
