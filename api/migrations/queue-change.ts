// Turns a change of a queue as it is asked for into the one that core judges.
import type { z } from 'zod';
import type { queueChange } from '../../contracts/rest.ts';
import type { QueueChange } from '../../core/index.ts';

export function toQueueChange(wanted: z.infer<typeof queueChange>): QueueChange {
  if (wanted.kind === 'concurrency') return wanted;
  const { vmMigrationId: id, ...rest } = wanted;
  return { ...rest, id };
}
