// landfall final, terminate, pause, resume, retry, shut-down-guest, go-on-without, wait, queue, limits: commands to
// migrations that run. A whole migration is named by its id, or by its VM where it has only one; one VM's by its id
// or the VM's name.
import type { Command } from 'commander';
import { actionAccepted, admissionReport, capacities, migration } from '../../contracts/rest.ts';
import { confirm } from '../ask.ts';
import { connected, type CommandContext } from '../command.ts';
import { describeMigration } from '../describe.ts';
import { CliError } from '../failure.ts';
import { addRetry } from './retry.ts';
import { findMigration, findSite, findVmMigration, listVms, pick } from '../find.ts';
import { table } from '../format.ts';

interface Action {
  readonly name: string;
  readonly action: string;
  readonly description: string;
  /** Asked before something that cannot be taken back. */
  readonly question?: string;
  /** Only for one VM's migration. */
  readonly singleOnly?: boolean;
}

const actions: readonly Action[] = [
  {
    name: 'final',
    action: 'final-migration',
    description: 'begin the final migration of a VM or a group',
    question: 'What is named will be stopped for a moment. Begin the final migration of',
  },
  {
    name: 'terminate',
    action: 'terminate',
    description: 'end a migration and undo what it made; source VMs run on',
    question: 'Terminate',
  },
  { name: 'pause', action: 'pause', description: 'let a migration stand still' },
  { name: 'resume', action: 'resume', description: 'let a paused migration go on' },
  { name: 'shut-down-guest', action: 'shut-down-guest', description: 'ask source guests to shut down' },
  {
    name: 'go-on-without',
    action: 'go-on-without',
    description: 'let a group finish without a member that failed or was terminated',
    singleOnly: true,
  },
  { name: 'wait-for', action: 'wait', description: 'let a group wait for a member that failed', singleOnly: true },
];

export function addCommandsToMigrations(program: Command): void {
  for (const action of actions) addAction(program, action);
  addRetry(program);
  addQueueCommands(program);
  addLimits(program);
}

function addAction(program: Command, { name, action, description, question, singleOnly }: Action): void {
  const command = program.command(`${name} <id>`).description(description);
  if (question !== undefined) command.option('-y, --yes', 'do not ask');
  if (name === 'final') command.option('--anyway', 'also when an objective would be missed');
  connected(command, async ({ client, print }, [id = ''], options) => {
    const whole = id.startsWith('mig_') && singleOnly !== true;
    const target = whole ? await findMigration(client, id) : await findVmMigration(client, id);
    const named = 'vm' in target ? target.vm.name : target.id;
    const ask = question !== undefined && options['yes'] !== true && process.stdin.isTTY;
    if (ask && !(await confirm(`${question} ${named}?`))) return;
    const body = options['anyway'] === true ? { anyway: true } : {};
    const path = whole ? 'migrations' : 'vm-migrations';
    const answer = await client.post(`/${path}/${target.id}/actions/${action}`, body, actionAccepted);
    print(answer, () => `Accepted. Follow it with "landfall watch ${target.id}".`);
  });
}

function addQueueCommands(program: Command): void {
  const queue = program.command('queue').description('change the queue of an independent migration while it runs');
  const change = async ({ client, print }: CommandContext, id: string, body: object): Promise<void> => {
    await client.post(`/migrations/${id}/queue`, body, actionAccepted);
    print(await findMigration(client, id), describeMigration);
  };
  const member = async (context: CommandContext, vm: string) => findVmMigration(context.client, vm);
  connected(
    queue
      .command('move <vm>')
      .description('let a VM that waits begin sooner or later')
      .option('--before <vm>', 'the one that it shall come before; without it, the end'),
    async (context, [vm = ''], options) => {
      const moved = await member(context, vm);
      const before = options['before'] === undefined ? null : (await member(context, options['before'] as string)).id;
      await change(context, moved.migrationId, { kind: 'move', vmMigrationId: moved.id, before });
    },
  );
  for (const [kind, description] of [
    ['hold', 'pass over a VM until it is let go'],
    ['let-go', 'let a held VM take its turn again'],
    ['remove', 'take a VM that waits out of the queue'],
  ] as const) {
    connected(queue.command(`${kind} <vm>`).description(description), async (context, [vm = '']) => {
      const { id, migrationId } = await member(context, vm);
      await change(context, migrationId, { kind, vmMigrationId: id });
    });
  }
  connected(
    queue.command('concurrency <migration> <n>').description('how many run at once'),
    async (context, [wanted = '', count = '']) => {
      const { id } = await findMigration(context.client, wanted);
      await change(context, id, { kind: 'concurrency', concurrency: Number(count) });
    },
  );
  connected(
    queue
      .command('add <migration> <vm...>')
      .description('let more VMs wait at the end')
      .requiredOption('--from <site>', 'where they run'),
    async ({ client, print }, [wanted = '', ...names], options) => {
      const { id } = await findMigration(client, wanted);
      const site = await findSite(client, options['from'] as string);
      const all = await listVms(client, site.id);
      const remedy = `See them with "landfall vm list --site ${site.name}".`;
      const vms = names.map((name) => ({
        siteId: site.id,
        moref: pick('VM', name, all, (item) => [item.moref, item.name], remedy).moref,
      }));
      print(await client.post(`/migrations/${id}/members`, { vms }, migration), describeMigration);
    },
  );
}

function addLimits(program: Command): void {
  const command = program
    .command('limits [resource=count...]')
    .description(
      'see or change how many migrations run at once (total, host, datastore, link, or one such as host:ID) and start per second (starts)',
    );
  connected(command, async ({ client, print }, wishes) => {
    if (wishes.length > 0) {
      print(await client.patch('/admission', Object.fromEntries(wishes.map(parseLimit)), capacities), limitsText);
      return;
    }
    print(await client.get('/admission', admissionReport), (report) =>
      [
        limitsText(report.capacities),
        ...report.waiting.map((item) => `${item.id} (place ${item.place}) waits for ${item.waitingFor}`),
      ].join('\n'),
    );
  });
}

function parseLimit(text: string): [string, number | null] {
  const at = text.lastIndexOf('=');
  const [resource, count] = [text.slice(0, at), text.slice(at + 1)];
  if (at > 0 && count === 'default') return [resource, null];
  if (at > 0 && /^[1-9]\d*$/.test(count)) return [resource, Number(count)];
  const remedy = 'Write for instance "landfall limits link=20", or link=default.';
  throw new CliError('The limit cannot be read', `"${text}" is not RESOURCE=COUNT.`, remedy);
}

function limitsText(now: Readonly<Record<string, number>>): string {
  return table(
    ['resource', 'limit'],
    Object.entries(now).map(([resource, count]) => [
      resource,
      resource === 'starts' ? `${count} per second` : `${count} at once`,
    ]),
  );
}
