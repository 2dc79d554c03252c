// landfall watch, events, receipt, verify, leaks, audit: see what happens and what happened.
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import {
  auditPage,
  event,
  leakReport,
  migrationPage,
  receipt,
  type AuditEntry,
  type Event,
} from '../../contracts/rest.ts';
import { connected, reportFailure, type CommandContext } from '../command.ts';
import { installationRoot } from '../configuration.ts';
import { CliError } from '../failure.ts';
import { findVmMigration } from '../find.ts';
import { formatTime, table } from '../format.ts';
import { readEvents } from '../server-sent-events.ts';
import { watchMigration } from '../watch.ts';

export function addObserveCommands(program: Command): void {
  connected(
    program.command('watch [id]').description('follow a migration until its end (id, name of the VM, or the newest)'),
    async ({ client, json }, [id]) => {
      if (id?.startsWith('mig_')) await watchMigration(client, id, json);
      else {
        const found = await findVmMigration(client, id ?? (await newestId(client)));
        await watchMigration(client, found.migrationId, json, found.id);
      }
    },
  );
  connected(
    program
      .command('events')
      .description('print what happens as it happens')
      .option('--id <id>', 'only of this migration or VM migration')
      .option('--since <event>', 'begin after this event id; 0 = the oldest kept'),
    followEvents,
  );
  connected(
    program
      .command('receipt <id>')
      .description('print or save the signed receipt')
      .option('-o, --output <file>', 'save it'),
    async ({ client, print }, [id = ''], options) => {
      const found = await findVmMigration(client, id);
      const document = await client.get(`/vm-migrations/${found.id}/receipt`, receipt);
      const file = options['output'] as string | undefined;
      if (file !== undefined) writeFileSync(file, `${JSON.stringify(document, null, 2)}\n`);
      print(document, () =>
        file === undefined ? JSON.stringify(document, null, 2) : `Saved. Check it with "landfall verify ${file}".`,
      );
    },
  );
  connected(
    program.command('leaks').description('look for what was left behind in the vCenters'),
    async ({ client, print }) => {
      const report = await client.get('/leaks', leakReport);
      print(report, ({ items }) =>
        items.length === 0
          ? 'Nothing was left behind.'
          : table(
              ['site', 'kind', 'what', 'remedy'],
              items.map((item) => [item.siteName, item.kind, item.message, item.remedy]),
            ),
      );
      if (!report.clean) process.exitCode = 1;
    },
  );
  connected(
    program
      .command('audit')
      .description('search the audit log, newest first')
      .option('--action <action>', 'only this action, such as migration.start')
      .option('--target <id>', 'only what was done to this')
      .option('--limit <n>', 'how many', Number, 50),
    async ({ client, print }, _positional, options) => {
      const query = {
        limit: options['limit'] as number,
        action: options['action'] as string,
        targetId: options['target'] as string,
      };
      print(await client.get('/audit', auditPage, query), ({ items }) => auditText(items));
    },
  );
  addVerify(program);
}

function addVerify(program: Command): void {
  program
    .command('verify <file>')
    .description('check a receipt without any server')
    .option('--trust <fingerprint>', 'fingerprint of the signing key that you trust')
    .option('--disk <raw>', 'recompute the root of a raw disk image and compare; may be repeated', collect, [])
    .option('--json', 'print JSON for programs')
    .action(async (file: string, options: { trust?: string; disk?: string[]; json?: boolean }) => {
      await reportFailure(options.json === true, () => verify(file, options));
    });
}

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

async function verify(file: string, options: { trust?: string; disk?: string[]; json?: boolean }): Promise<void> {
  const program = join(process.env['LANDFALL_BUILD'] ?? join(installationRoot(), 'build'), 'replicator');
  if (!existsSync(program))
    throw new CliError('The replicator was not built', `There is no ${program}.`, 'Run tools/setup.');
  const args = [
    'verify-receipt',
    resolve(file),
    ...(options.trust === undefined ? [] : ['--trust', options.trust]),
    ...(options.disk ?? []).flatMap((disk) => ['--disk', disk]),
    ...(options.json === true ? ['--json'] : []),
  ];
  const child = spawn(program, args, { stdio: 'inherit' });
  process.exitCode = await new Promise<number>((done, fail) => {
    child.once('error', fail);
    child.once('close', (status) => {
      done(status ?? 1);
    });
  });
}

async function followEvents(
  { client, json }: CommandContext,
  _positional: readonly string[],
  options: Record<string, unknown>,
): Promise<void> {
  const query = { id: options['id'] as string | undefined, lastEventId: options['since'] as string | undefined };
  const ending = new AbortController();
  process.once('SIGINT', () => {
    ending.abort();
  });
  try {
    for await (const message of readEvents(await client.openStream('/events', query, {}, ending.signal))) {
      const heard = event.parse(JSON.parse(message.data));
      process.stdout.write(`${json ? JSON.stringify(heard) : eventText(heard)}\n`);
    }
  } catch (error) {
    if (!ending.signal.aborted) throw error;
  }
}

async function newestId(client: CommandContext['client']): Promise<string> {
  const { items } = await client.get('/migrations', migrationPage, { limit: 1 });
  const [newest] = items;
  if (newest === undefined)
    throw new CliError(
      'There is nothing to watch',
      'No migration was started yet.',
      'Begin with "landfall migrate start".',
    );
  return newest.id;
}

function eventText(item: Event): string {
  const facts = Object.entries(item.data).flatMap(([name, value]) =>
    typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? [`${name}=${value}`] : [],
  );
  const about = item.vmMigrationId ?? item.migrationId ?? '';
  return [formatTime(item.at), item.type, about, facts.join(' ')].filter((part) => part !== '').join('  ');
}

function auditText(items: readonly AuditEntry[]): string {
  const rows = items.map((item) => [
    formatTime(item.at),
    item.principalName ?? item.principalId,
    item.action,
    item.outcome,
    item.targetId,
  ]);
  return rows.length === 0
    ? 'The log holds nothing like that.'
    : table(['time', 'who', 'action', 'outcome', 'target'], rows);
}
