// Keys of the workflow payloads: which there are, and a new one. A key itself never leaves its file.
import { payloadKey, payloadKeyList, type PayloadKey } from '../../contracts/rest.ts';
import { holdLock, keyRotationLock, recordAudit } from '../../db/index.ts';
import type { PayloadKeyFacts } from '../services.ts';
import { created, defineRoute, ok, type Route } from '../http/route.ts';

const listRoute = defineRoute({
  method: 'get',
  path: '/api/v1/payload-keys',
  tag: 'Installation',
  operationId: 'listPayloadKeys',
  summary: 'List the keys of workflow payloads',
  description: 'Newest first, without the keys themselves.',
  scope: 'tokens:write',
  responses: { 200: { description: 'Their ids', schema: payloadKeyList } },
  problems: ['PAYLOAD_KEYS_UNREADABLE'],
  async handler(_input, { services }) {
    const keys = await services.payloadKeys.list();
    return ok({ items: keys.map((key, index) => toKey(key, index === 0)) });
  },
});

const rotateRoute = defineRoute({
  method: 'post',
  path: '/api/v1/payload-keys',
  tag: 'Installation',
  operationId: 'rotatePayloadKeys',
  summary: 'Make a new key for workflow payloads',
  description:
    'All running parts use it for new payloads within seconds, without a restart. Older keys stay, because histories need them.',
  scope: 'tokens:write',
  responses: { 201: { description: 'The new key’s id', schema: payloadKey } },
  problems: ['PAYLOAD_KEYS_UNREADABLE'],
  async handler(_input, { services, principal, requestId }) {
    const made = await services.database.transaction(async (db) => {
      await holdLock(db, keyRotationLock);
      const key = await services.payloadKeys.rotate();
      await recordAudit(db, {
        principalId: principal.id,
        action: 'payload-keys.rotate',
        targetKind: 'payload-key',
        targetId: key.id,
        outcome: 'done',
        requestId,
      });
      return key;
    });
    return created(toKey(made, true), '/api/v1/payload-keys');
  },
});

function toKey({ id, createdAt }: PayloadKeyFacts, newest: boolean): PayloadKey {
  return { id, createdAt, newest };
}

export const keyRoutes: readonly Route[] = [listRoute, rotateRoute];
