// landfall migrate start: a queue or a group, with everything that can be planned for it.
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { migration, runbookFile, type StartMigrationInput } from '../../contracts/rest.ts';
import { connected, type CommandContext } from '../command.ts';
import { describeMigration } from '../describe.ts';
import { addDialOptions, dialsFrom } from '../dial-options.ts';
import { CliError } from '../failure.ts';
import { findSite, listSites, listVms, pick, pickOnly, readInventory } from '../find.ts';
import { watchMigration } from '../watch.ts';

export function addStartCommand(group: Command): void {
  const start = group
    .command('start <vm...>')
    .description('migrate VMs one after another, or as a group')
    .option('--from <site>', 'where they run (not needed with two sites)')
    .requiredOption('--to <site>', 'where they shall run')
    .option('--cluster <cluster>', 'destination cluster (not needed when there is one)')
    .option('--datastore <datastore>', 'destination datastore (not needed when there is one)')
    .option('--network <source=destination>', 'map a network; may be repeated', collect, [])
    .option('--group', 'copy them side by side and finish them together')
    .option('--runbook <file>', 'with --group: order of shut-down and power-on, as JSON')
    .option('--concurrency <n>', 'how many run (with --group: copy) at once', Number)
    .option('--priority <1-5>', 'who takes free places first; 1 before 5', Number)
    .option('--auto-final', 'when ready, stop the guest, send the rest and start it at the destination')
    .option('--window <from/until>', 'like --auto-final, but only within these hours; may be repeated', collect, [])
    .option('--target-duration <seconds>', 'objective: from start to hand-over', Number)
    .option('--downtime-max <seconds>', 'objective: the longest stop that is accepted', Number)
    .option('--shut-down-timeout <seconds>', 'how long the guest may take to shut down', Number)
    .option('--on-timeout <what>', 'when it takes longer: wait, power-off or give-up')
    .option('-w, --watch', 'follow the migration until its end');
  connected(addDialOptions(start), startMigration);
}

async function startMigration(
  { client, json, say, print }: CommandContext,
  names: readonly string[],
  options: Record<string, unknown>,
): Promise<void> {
  const destination = await findSite(client, options['to'] as string);
  const source = await findSource(client, options['from'] as string | undefined, destination.id);
  const [vms, inventory] = await Promise.all([listVms(client, source.id), readInventory(client, destination.id)]);
  const see = `See them with "landfall site show ${destination.name}".`;
  const cluster = choose('cluster', options['cluster'] as string | undefined, inventory.clusters, see);
  const reachable = inventory.datastores.filter((item) => cluster.datastoreMorefs.includes(item.moref));
  const datastore = choose('datastore', options['datastore'] as string | undefined, reachable, see);
  const shutDown = shutDownFrom(options);
  const place = (name: string): VmPlace => {
    const remedy = `See them with "landfall vm list --site ${source.name}".`;
    const vm = pick('VM', name, vms, (item) => [item.moref, item.name], remedy);
    return { siteId: source.id, moref: vm.moref };
  };
  const number = (name: string): number | undefined => options[name] as number | undefined;
  const [priority, concurrency] = [number('priority'), number('concurrency')];
  const body: StartMigrationInput = {
    kind: options['group'] === true ? 'group' : 'independent',
    final: finalFrom(options),
    objectives: {
      targetDurationSeconds: number('targetDuration') ?? null,
      downtimeSecondsMax: number('downtimeMax') ?? null,
    },
    ...(priority === undefined ? {} : { priority }),
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(options['runbook'] === undefined ? {} : { runbook: readRunbook(options['runbook'] as string, place) }),
    vms: names.map(place),
    destination: {
      siteId: destination.id,
      clusterMoref: cluster.moref,
      datastoreMoref: datastore.moref,
      networks: (options['network'] as string[]).map(parseMapping),
    },
    settings: dialsFrom(options),
    ...(shutDown === undefined ? {} : { shutDown }),
  };
  const started = await client.post('/migrations', body, migration);
  if (options['watch'] !== true) {
    print(started, (made) => `${describeMigration(made)}\nFollow it with "landfall watch ${made.id}".`);
    return;
  }
  say(`${started.id} is started.`);
  await watchMigration(client, started.id, json);
}

/** When the final begins: by hand unless something else was said. */
export function finalFrom(options: Record<string, unknown>): NonNullable<StartMigrationInput['final']> {
  const windows = ((options['window'] as string[] | undefined) ?? []).map(parseWindow);
  if (windows.length > 0) return { mode: 'window', windows };
  return { mode: options['autoFinal'] === true ? 'auto' : 'manual', windows: [] };
}

function parseWindow(text: string): { from: string; until: string } {
  const times = text.split('/').map((part) => new Date(part));
  const [from, until] = times;
  if (times.length === 2 && from && until && times.every((time) => !Number.isNaN(time.getTime()))) {
    return { from: from.toISOString(), until: until.toISOString() };
  }
  throw new CliError(
    'The window cannot be read',
    `"${text}" is not FROM/UNTIL.`,
    'Write for instance --window 2027-03-06T22:00Z/2027-03-07T04:00Z.',
  );
}

interface VmPlace {
  readonly siteId: string;
  readonly moref: string;
}

/** The file has the shape of the API's runbook with VMs by name: {"shutDown": [{"vms": ["web"]}], "powerOn": […]}. */
export function readRunbook(
  file: string,
  place: (name: string) => VmPlace,
): NonNullable<StartMigrationInput['runbook']> {
  try {
    const named = runbookFile.parse(JSON.parse(readFileSync(file, 'utf8')));
    const steps = <Step extends { readonly vms: readonly string[] }>(order: readonly Step[]) =>
      order.map((step) => ({ ...step, vms: step.vms.map(place) }));
    return { shutDown: steps(named.shutDown), powerOn: steps(named.powerOn) };
  } catch (error) {
    if (error instanceof CliError) throw error;
    const why = error instanceof Error ? error.message : 'unknown reason';
    throw new CliError('The runbook cannot be read', `${file}: ${why}`, 'docs/groups.md shows one.');
  }
}

function shutDownFrom(options: Record<string, unknown>): StartMigrationInput['shutDown'] {
  const timeoutSeconds = options['shutDownTimeout'] as number | undefined;
  const onTimeout = options['onTimeout'] as 'wait' | 'power-off' | 'give-up' | undefined;
  if (timeoutSeconds === undefined && onTimeout === undefined) return undefined;
  return {
    ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
    ...(onTimeout === undefined ? {} : { onTimeout }),
  };
}

async function findSource(client: CommandContext['client'], named: string | undefined, destinationId: string) {
  if (named !== undefined) return findSite(client, named);
  const others = (await listSites(client)).filter((site) => site.id !== destinationId);
  return pickOnly('source site (--from)', others, (site) => site.name, 'Name it with --from.');
}

function choose<Item extends { readonly moref: string; readonly name: string }>(
  kind: string,
  named: string | undefined,
  items: readonly Item[],
  remedy: string,
): Item {
  return named === undefined
    ? pickOnly(`${kind} (--${kind})`, items, (item) => item.name, `Name it with --${kind}.`)
    : pick(kind, named, items, (item) => [item.moref, item.name], remedy);
}

export function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

export function parseMapping(text: string): { source: string; destination: string } {
  const [source, destination, ...rest] = text.split('=');
  if (source && destination && rest.length === 0) return { source, destination };
  throw new CliError(
    'The network mapping cannot be read',
    `"${text}" is not SOURCE=DESTINATION.`,
    'Write for instance --network "VM Network=Production".',
  );
}
