// landfall migrate, settings: begin migrations, see them, change what was planned for them.
import type { Command } from 'commander';
import { migration, migrationPage, vmMigration } from '../../contracts/rest.ts';
import { connected, type CommandContext } from '../command.ts';
import { describeMigration, describeSettings, describeVmMigration } from '../describe.ts';
import { addDialOptions, dialsFrom } from '../dial-options.ts';
import { CliError } from '../failure.ts';
import { findMigration, findVmMigration } from '../find.ts';
import { formatTime, table } from '../format.ts';
import { addCommandsToMigrations } from './migration-commands.ts';
import { addStartCommand, finalFrom, readRunbook } from './start-migration.ts';

export function addMigrationCommands(program: Command): void {
  const group = program.command('migrate').description('start and see migrations');
  addStartCommand(group);
  connected(
    group.command('list').description('list migrations, newest first').option('--limit <n>', 'how many', Number, 20),
    listMigrations,
  );
  connected(
    group.command('show <id>').description('see a migration or one VM’s migration'),
    async ({ client, print }, [id = '']) => {
      if (id.startsWith('mig_')) print(await findMigration(client, id), describeMigration);
      else print(await findVmMigration(client, id), describeVmMigration);
    },
  );
  connected(
    addDialOptions(program.command('settings <id>').description('see or change the settings of one VM’s migration')),
    async ({ client, print }, [id = ''], options) => {
      const found = await findVmMigration(client, id);
      const change = dialsFrom(options);
      const now =
        Object.keys(change).length === 0
          ? found
          : await client.patch(`/vm-migrations/${found.id}/settings`, change, vmMigration);
      print(now.settings, () => describeSettings(now));
    },
  );
  addChangeCommand(group);
  addCommandsToMigrations(program);
}

async function listMigrations(
  { client, print }: CommandContext,
  _positional: readonly string[],
  options: Record<string, unknown>,
): Promise<void> {
  print(await client.get('/migrations', migrationPage, { limit: options['limit'] as number }), ({ items }) => {
    if (items.length === 0) return 'There are no migrations. Begin with "landfall migrate start".';
    const rows = items.map((item) => [
      item.id,
      formatTime(item.createdAt),
      item.status,
      item.vmMigrations.map((member) => member.vm.name).join(', '),
    ]);
    return table(['migration', 'started', 'status', 'vms'], rows);
  });
}

function addChangeCommand(group: Command): void {
  const change = group
    .command('change <id>')
    .description('change what was planned for a migration that runs; what is not named stays')
    .option('--manual-final', 'begin finals by hand only')
    .option('--auto-final', 'begin each final when it is ready and its objectives fit')
    .option('--window <from/until>', 'the same, but only within these hours; may be repeated', collect, [])
    .option('--target-duration <seconds>', 'objective: from start to hand-over, or "none"')
    .option('--downtime-max <seconds>', 'objective: the longest stop that is accepted, or "none"')
    .option('--runbook <file>', 'another runbook for a group')
    .option('--priority <1-5>', 'who takes free places first, while it waits; 1 before 5', Number);
  connected(addDialOptions(change), async ({ client, print }, [id = ''], options) => {
    const now = await findMigration(client, id);
    const places = now.vmMigrations.map(({ vm }) => vm);
    const place = (name: string): { siteId: string; moref: string } => {
      const vm = places.find((item) => item.name === name || item.moref === name);
      if (vm !== undefined) return { siteId: vm.siteId, moref: vm.moref };
      throw new CliError('The runbook names a stranger', `${name} is not a VM of ${id}.`, 'Name VMs of this group.');
    };
    const settings = dialsFrom(options);
    const objectives = objectivesFrom(options, now.objectives);
    const saysFinal = options['manualFinal'] === true || options['autoFinal'] === true;
    const windows = options['window'] as readonly string[];
    const body = {
      ...(saysFinal || windows.length > 0 ? { final: finalFrom(options) } : {}),
      ...(objectives === undefined ? {} : { objectives }),
      ...(options['runbook'] === undefined ? {} : { runbook: readRunbook(options['runbook'] as string, place) }),
      ...(options['priority'] === undefined ? {} : { priority: options['priority'] as number }),
      ...(Object.keys(settings).length === 0 ? {} : { settings }),
    };
    if (Object.keys(body).length === 0) print(now, describeMigration);
    else print(await client.patch(`/migrations/${now.id}`, body, migration), describeMigration);
  });
}

type Objectives = Parameters<typeof describeMigration>[0]['objectives'];

function objectivesFrom(options: Record<string, unknown>, before: Objectives): Objectives | undefined {
  const read = (name: string, old: number | null): number | null => {
    const text = options[name] as string | undefined;
    if (text === undefined) return old;
    return text === 'none' ? null : Number(text);
  };
  if (options['targetDuration'] === undefined && options['downtimeMax'] === undefined) return undefined;
  return {
    targetDurationSeconds: read('targetDuration', before.targetDurationSeconds),
    downtimeSecondsMax: read('downtimeMax', before.downtimeSecondsMax),
  };
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}
