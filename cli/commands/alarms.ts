// landfall alarms: what a person should look at now, and saying that it was seen.
import type { Command } from 'commander';
import { alarm, alarmPage, type Alarm } from '../../contracts/rest.ts';
import { connected } from '../command.ts';
import { pick } from '../find.ts';
import { formatTime } from '../format.ts';

export function addAlarmCommands(program: Command): void {
  const group = connected(
    program
      .command('alarms')
      .description('what a person should look at')
      .option('--all', 'also what has ended')
      .option('--limit <n>', 'how many', Number, 50),
    async ({ client, print }, _positional, options) => {
      const query = { all: options['all'] === true ? 'true' : 'false', limit: options['limit'] as number };
      print(await client.get('/alarms', alarmPage, query), ({ items }) =>
        items.length === 0 ? 'Nothing.' : items.map(describe).join('\n'),
      );
    },
  );
  connected(
    group.command('acknowledge <alarm>').description('end an alarm that was seen (id, or name of the VM)'),
    async ({ client, print }, [wanted = '']) => {
      const { items } = await client.get('/alarms', alarmPage);
      const found = pick('alarm', wanted, items, (item) => [item.id, item.vmName], 'List them with "landfall alarms".');
      print(await client.post(`/alarms/${found.id}/actions/acknowledge`, {}, alarm), describe);
    },
  );
}

function describe({ id, kind, vmName, message, help, raisedAt, clearedAt }: Alarm): string {
  const until = clearedAt === null ? '' : `, ended ${formatTime(clearedAt)}`;
  return [
    `${vmName}: ${message}`,
    ...help.map((line) => `  What could help: ${line}`),
    `  ${kind}, since ${formatTime(raisedAt)}${until} (${id})`,
  ].join('\n');
}
