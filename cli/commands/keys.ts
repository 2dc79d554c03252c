// landfall keys: the keys that workflow payloads are encrypted with; list them, make a new one.
import type { Command } from 'commander';
import { payloadKey, payloadKeyList } from '../../contracts/rest.ts';
import { connected } from '../command.ts';
import { formatTime, table } from '../format.ts';

export function addKeyCommands(program: Command): void {
  const group = program.command('keys').description('keys of the workflow payloads');
  connected(group.command('list').description('list them, newest first'), async ({ client, print }) => {
    print(await client.get('/payload-keys', payloadKeyList), ({ items }) =>
      table(
        ['id', 'made', 'use'],
        items.map(({ id, createdAt, newest }) => [
          id,
          createdAt === null ? '-' : formatTime(createdAt),
          newest ? 'encrypts what is new, opens what it encrypted' : 'opens what it encrypted',
        ]),
      ),
    );
  });
  connected(group.command('rotate').description('make a new one; older ones stay'), async ({ client, print }) => {
    print(await client.post('/payload-keys', {}, payloadKey), ({ id }) =>
      [
        `${id} encrypts what is new. API and workers use it within seconds; nothing has to be restarted.`,
        'Back up authority/payload-keys.json of the installation now: without this key its histories cannot be read.',
      ].join('\n'),
    );
  });
}
