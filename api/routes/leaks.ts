// The leak check: what either vCenter still holds of ours.
import { leakReport } from '../../contracts/rest.ts';
import { defineRoute, ok, type Route } from '../http/route.ts';
import { findLeaks } from '../installation/leaks.ts';

const listRoute = defineRoute({
  method: 'get',
  path: '/api/v1/leaks',
  tag: 'Installation',
  operationId: 'findLeaks',
  summary: 'Look for what was left behind',
  description:
    'Compares the book of everything that was made with what is under way, and looks into each vCenter for shadow VMs and disks under the replication policy.',
  scope: 'sites:read',
  responses: { 200: { description: 'What was found; `clean` when nothing', schema: leakReport } },
  problems: [],
  async handler(_input, { services }) {
    return ok(await findLeaks(services));
  },
});

export const leakRoutes: readonly Route[] = [listRoute];
