/** Ids with the real clock and real randomness, for the records that are made here. */
import { randomBytes } from 'node:crypto';
import { makeId, makeUuidV7, type IdPrefix } from '../core/index.ts';

export const newUuid = (): string => makeUuidV7(Date.now(), randomBytes(16));

export function newId(prefix: IdPrefix): string {
  return makeId(prefix, Date.now(), randomBytes(16));
}
