// landfall migrate, settings, shut-down-guest, final, terminate: begin migrations and give them commands.
import { InvalidArgumentError, type Command } from 'commander';
import {
  actionAccepted,
  migration,
  migrationPage,
  vmMigration,
  type Dials,
  type Migration,
  type StartMigrationInput,
  type VmMigration,
} from '../../contracts/rest.ts';
import { confirm } from '../ask.ts';
import { connected, type CommandContext } from '../command.ts';
import { CliError } from '../failure.ts';
import {
  findMigration,
  findSite,
  findVmMigration,
  listSites,
  listVms,
  pick,
  pickOnly,
  readInventory,
} from '../find.ts';
import { formatBytes, formatSeconds, formatTime, parseByteRate, table } from '../format.ts';
import { describeSettings, describeVmMigration } from '../describe.ts';
import { watchMigration } from '../watch.ts';

type DialOptions = Partial<Pick<Dials, 'replicationRate' | 'writeThrottling'>> & {
  limit?: string;
  latencyMax?: string;
};

export function addMigrationCommands(program: Command): void {
  const group = program.command('migrate').description('start and see migrations');
  const start = group
    .command('start <vm...>')
    .description('migrate VMs one after another')
    .option('--from <site>', 'where they run (not needed with two sites)')
    .requiredOption('--to <site>', 'where they shall run')
    .option('--cluster <cluster>', 'destination cluster (not needed when there is one)')
    .option('--datastore <datastore>', 'destination datastore (not needed when there is one)')
    .option('--network <source=destination>', 'map a network; may be repeated', collect, [])
    .option('--auto-final', 'when ready, stop the guest, send the rest and start it at the destination')
    .option('--shut-down-timeout <seconds>', 'how long the guest may take to shut down', Number)
    .option('--on-timeout <what>', 'when it takes longer: wait, power-off or give-up')
    .option('-w, --watch', 'follow the migration until its end');
  connected(addDialOptions(start), startMigration);
  connected(
    group.command('list').description('list migrations, newest first').option('--limit <n>', 'how many', Number, 20),
    listMigrations,
  );
  connected(
    group.command('show <id>').description('see a migration or one VM’s migration'),
    async ({ client, print }, [id = '']) => {
      if (id.startsWith('mig_')) print(await findMigration(client, id), migrationText);
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
  addAction(program, 'shut-down-guest', 'shut-down-guest', 'ask the source guest to shut down', null);
  addAction(
    program,
    'final',
    'final-migration',
    'begin the final migration',
    'The VM will be stopped for a moment. Begin the final migration of',
  );
  addTerminate(program);
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
  const body: StartMigrationInput = {
    kind: 'independent',
    autoFinal: options['autoFinal'] === true,
    vms: names.map((name) => {
      const vm = pick(
        'VM',
        name,
        vms,
        (item) => [item.moref, item.name],
        `See them with "landfall vm list --site ${source.name}".`,
      );
      return { siteId: source.id, moref: vm.moref };
    }),
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
    print(started, (made) => `${migrationText(made)}\nFollow it with "landfall watch ${made.id}".`);
    return;
  }
  say(`${started.id} is started.`);
  await watchMigration(client, started.id, json);
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

function addAction(program: Command, name: string, action: string, description: string, question: string | null): void {
  const command = program.command(`${name} <id>`).description(`${description} (VM migration, or name of its VM)`);
  if (question !== null) command.option('-y, --yes', 'do not ask');
  connected(command, async ({ client, print }, [id = ''], options) => {
    const found = await findVmMigration(client, id);
    if (
      question !== null &&
      options['yes'] !== true &&
      process.stdin.isTTY &&
      !(await confirm(`${question} ${found.vm.name}?`))
    )
      return;
    const answer = await client.post(`/vm-migrations/${found.id}/actions/${action}`, {}, actionAccepted);
    print(answer, () => `Accepted. Follow it with "landfall watch ${found.id}".`);
  });
}

function addTerminate(program: Command): void {
  const command = program
    .command('terminate <id>')
    .description('end a migration and undo what it made; the source VM runs on')
    .option('-y, --yes', 'do not ask');
  connected(command, async ({ client, print }, [id = ''], options) => {
    const whole = id.startsWith('mig_');
    const target = whole ? await findMigration(client, id) : await findVmMigration(client, id);
    if (options['yes'] !== true && process.stdin.isTTY && !(await confirm(`Terminate ${target.id}?`))) return;
    const path = whole ? 'migrations' : 'vm-migrations';
    const answer = await client.post(`/${path}/${target.id}/actions/terminate`, {}, actionAccepted);
    print(answer, () => `Accepted. Follow it with "landfall watch ${target.id}".`);
  });
}

function addDialOptions(command: Command): Command {
  return command
    .option('--replication-rate <0-100>', 'how hard background replication pushes; 50 yields to the guest', Number)
    .option('--write-throttling <0-100>', 'how much guest writes may be slowed; 0 = off', Number)
    .option('--limit <rate>', 'absolute limit such as 8MB/s or 100MiB/s, or "none"', checkRate)
    .option('--latency-max <ms>', 'most that one guest write is slowed, in ms, or "none"');
}

/** What was said of the dials; the API checks the ranges. */
export function dialsFrom({ replicationRate, writeThrottling, limit, latencyMax }: DialOptions): Partial<Dials> {
  return {
    ...(replicationRate === undefined ? {} : { replicationRate }),
    ...(writeThrottling === undefined ? {} : { writeThrottling }),
    ...(limit === undefined ? {} : { bytesPerSecondMax: limit === 'none' ? null : (parseByteRate(limit) ?? null) }),
    ...(latencyMax === undefined ? {} : { addedWriteLatencyMsMax: latencyMax === 'none' ? null : Number(latencyMax) }),
  };
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

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

function parseMapping(text: string): { source: string; destination: string } {
  const [source, destination, ...rest] = text.split('=');
  if (source && destination && rest.length === 0) return { source, destination };
  throw new CliError(
    'The network mapping cannot be read',
    `"${text}" is not SOURCE=DESTINATION.`,
    'Write for instance --network "VM Network=Production".',
  );
}

function checkRate(text: string): string {
  if (text === 'none' || parseByteRate(text) !== undefined) return text;
  throw new InvalidArgumentError('Write a rate such as 8MB/s, 100MiB/s or 25000000, or "none".');
}

function migrationText(item: Migration): string {
  const rows = item.vmMigrations.map((member) => [
    member.vm.name,
    member.status,
    member.state,
    shareText(member),
    member.id,
  ]);
  return [
    `${item.id}: ${item.status}${item.autoFinal ? ', auto final' : ''}`,
    table(['vm', 'status', 'state', 'copied', 'id'], rows),
  ].join('\n');
}

function shareText({ progress, endedAt, createdAt }: VmMigration): string {
  if (progress === null) return '-';
  const took = endedAt === null ? '' : `, ${formatSeconds((Date.parse(endedAt) - Date.parse(createdAt)) / 1_000)}`;
  return `${Math.floor(progress.percent)} % of ${formatBytes(progress.allocatedBytes)}${took}`;
}
