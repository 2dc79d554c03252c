// Commands to a whole site: everything of it stands still, or goes on.
import { z } from 'zod';
import { actionAccepted, siteId } from '../../contracts/rest.ts';
import { accepted, defineRoute, type Route } from '../http/route.ts';
import { pauseSite } from '../migrations/pause-site.ts';
import { noWords } from './action-route.ts';

const actions = [
  {
    action: 'pause',
    operationId: 'pauseSite',
    summary: 'Pause everything of a site',
    description:
      'Replication from and to the site stands still within seconds, no further step and no final migration begins; what is in its final goes on. ' +
      'New migrations are accepted and wait. A migration that was paused by itself stays so when the site is resumed.',
  },
  {
    action: 'resume',
    operationId: 'resumeSite',
    summary: 'Resume everything of a site',
    description: 'Everything that waits for the site goes on where it was.',
  },
] as const;

export const siteActionRoutes: readonly Route[] = actions.map(({ action, ...text }) =>
  defineRoute({
    method: 'post',
    path: `/api/v1/sites/{siteId}/actions/${action}`,
    tag: 'Sites',
    ...text,
    scope: 'migrations:write',
    params: z.strictObject({ siteId }),
    body: noWords,
    responses: { 202: { description: 'Accepted; also when it was so already', schema: actionAccepted } },
    problems: ['NOT_FOUND'],
    async handler({ params }, context) {
      await pauseSite(params.siteId, action === 'pause', context);
      return accepted({ id: params.siteId, action, accepted: true }, `/api/v1/sites/${params.siteId}`);
    },
  }),
);
