// The live stream of events.
import { event, eventQuery } from '../../contracts/rest.ts';
import { streamEvents } from '../events/event-stream.ts';
import { invalidInput } from '../http/problems.ts';
import { defineStream, type Route } from '../http/route.ts';

const streamRoute = defineStream({
  method: 'get',
  path: '/api/v1/events',
  tag: 'Events',
  operationId: 'streamEvents',
  summary: 'Follow what happens',
  description:
    'A `text/event-stream`. Each message has the event’s id, its type as the event name, and an Event as data. ' +
    'After a break, send the last id as `Last-Event-ID` and nothing is missed. A comment comes every 15 seconds.',
  scope: 'migrations:read',
  query: eventQuery,
  responses: {
    200: { description: 'The stream; it does not end by itself', mediaType: 'text/event-stream', schema: event },
  },
  problems: [],
  async stream({ query }, { services }, { request, response }) {
    const given = request.headers['last-event-id'] ?? query.lastEventId;
    if (given !== undefined && (typeof given !== 'string' || !/^\d{1,18}$/.test(given))) {
      throw invalidInput([{ pointer: '#/header/Last-Event-ID', message: 'must be the id of an event' }]);
    }
    const { id } = query;
    await streamEvents(
      services.events,
      {
        afterId: given === undefined ? null : BigInt(given),
        matches: (item) => id === undefined || item.migrationId === id || item.vmMigrationId === id,
      },
      response,
    );
  },
});

export const eventRoutes: readonly Route[] = [streamRoute];
