// How many migrations run at once, and what waits for its turn.
import { admissionReport, capacities, changeCapacitiesRequest } from '../../contracts/rest.ts';
import { listWaiting, readCapacities, recordAudit, setCapacities } from '../../db/index.ts';
import { startSoon } from '../migrations/start-queued.ts';
import { tellAdmission } from '../migrations/tell-admission.ts';
import { defineRoute, ok, type Route } from '../http/route.ts';

const showRoute = defineRoute({
  method: 'get',
  path: '/api/v1/admission',
  tag: 'Migrations',
  operationId: 'getAdmission',
  summary: 'See the limits and what waits for its turn',
  scope: 'migrations:read',
  responses: { 200: { description: 'Limits, and what each waits for', schema: admissionReport } },
  problems: [],
  async handler(_input, { services }) {
    const { prisma } = services.database;
    return ok({ capacities: await readCapacities(prisma), waiting: await listWaiting(prisma) });
  },
});

const changeRoute = defineRoute({
  method: 'patch',
  path: '/api/v1/admission',
  tag: 'Migrations',
  operationId: 'changeAdmission',
  summary: 'Change how many migrations run at once',
  description:
    'By kind (`total`, `host`, `datastore`, `link`) or for one of them (`host:SITE/MOREF`); `starts` is how many VMs begin per second. ' +
    'Migrations under way go on.',
  scope: 'migrations:write',
  body: changeCapacitiesRequest,
  responses: { 200: { description: 'The limits as they are now', schema: capacities } },
  problems: [],
  async handler({ body }, { services, principal, requestId, log }) {
    const now = await services.database.transaction(async (db) => {
      await recordAudit(db, {
        principalId: principal.id,
        action: 'admission.change',
        targetKind: 'installation',
        targetId: 'admission',
        outcome: 'done',
        requestId,
        details: body,
      });
      return setCapacities(db, body);
    });
    await startSoon(log, () => tellAdmission(services));
    return ok(now);
  },
});

export const admissionRoutes: readonly Route[] = [showRoute, changeRoute];
