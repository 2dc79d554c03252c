// landfall token: make, list and revoke API tokens.
import type { Command } from 'commander';
import { createdToken, scope, tokenList, type Token } from '../../contracts/rest.ts';
import { connected } from '../command.ts';
import { pick } from '../find.ts';
import { formatTime, table } from '../format.ts';

export function addTokenCommands(program: Command): void {
  const group = program.command('token').description('API tokens');
  connected(
    group
      .command('create <name>')
      .description('make a token; its secret is shown this once')
      .option('--scope <scope...>', `what it may do: ${scope.options.join(', ')} (default: everything that only reads)`)
      .option('--days <n>', 'how long it is valid', Number, 90),
    async ({ client, print }, [name = ''], options) => {
      const readOnly = scope.options.filter((item) => item.endsWith(':read'));
      const body = { name, scopes: options['scope'] ?? readOnly, expiresInDays: options['days'] };
      print(await client.post('/tokens', body, createdToken), (made) =>
        [
          `${made.secret}`,
          `This is the token "${made.name}" (${made.id}). It is not shown again.`,
          `It may: ${made.scopes.join(', ')}, until ${formatTime(made.expiresAt)}.`,
        ].join('\n'),
      );
    },
  );
  connected(group.command('list').description('list tokens'), async ({ client, print }) => {
    print(await client.get('/tokens', tokenList), ({ items }) =>
      table(
        ['name', 'state', 'expires', 'last used', 'scopes', 'id'],
        items.map((item) => [
          item.name,
          stateOf(item),
          formatTime(item.expiresAt),
          formatTime(item.lastUsedAt),
          item.scopes.join(' '),
          item.id,
        ]),
      ),
    );
  });
  connected(
    group.command('revoke <token>').description('make a token useless (name or id)'),
    async ({ client, print }, [wanted = '']) => {
      const { items } = await client.get('/tokens', tokenList);
      const valid = items.filter((item) => item.revokedAt === null);
      const found = pick(
        'token',
        wanted,
        valid,
        (item) => [item.id, item.name],
        'List them with "landfall token list".',
      );
      await client.delete(`/tokens/${found.id}`);
      print({ revoked: found.id }, () => `${found.name} (${found.id}) is of no use any more.`);
    },
  );
}

function stateOf({ revokedAt, expiresAt }: Token): string {
  if (revokedAt !== null) return 'revoked';
  return expiresAt !== null && Date.parse(expiresAt) <= Date.now() ? 'expired' : 'valid';
}
