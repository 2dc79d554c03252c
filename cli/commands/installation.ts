// landfall info, status: who the installation is, and how its own processes are.
import type { Command } from 'commander';
import { installation, type InstallationPart } from '../../contracts/rest.ts';
import { connected } from '../command.ts';
import { formatTime, table } from '../format.ts';

export function addInstallationCommands(program: Command): void {
  connected(program.command('info').description('who this installation is'), async ({ client, print }) => {
    print(await client.get('/installation', installation), (it) =>
      [
        `Landfall ${it.version} at ${client.url} (API reference: ${client.url}/docs)`,
        `Installation ${it.installationId}`,
        `Receipts are signed by the key ${it.receiptFingerprint}`,
        `Check one with "landfall verify FILE --trust ${it.receiptFingerprint}".`,
      ].join('\n'),
    );
  });
  connected(
    program.command('status').description('how the processes of this installation are; exit status 1 if one is not up'),
    async ({ client, print }) => {
      const { parts } = await client.get('/installation', installation);
      print(parts, statusText);
      if (parts.some(({ state }) => state !== 'running')) process.exitCode = 1;
    },
  );
}

function statusText(parts: readonly InstallationPart[]): string {
  if (parts.length === 0)
    return 'The API answers. Its processes were not started by "landfall up", so no more is known.';
  const rows = parts.map(({ name, state, since, restarts, lastEnd }) => {
    const ended = lastEnd === null ? '-' : `${formatTime(lastEnd.at)}, ${lastEnd.how}`;
    return [name, state, formatTime(since), String(restarts), ended];
  });
  const remedies = parts.flatMap(({ name, remedy }) => (remedy === null ? [] : [`What to do for ${name}: ${remedy}`]));
  return [table(['part', 'state', 'since', 'restarts', 'ended last'], rows), ...remedies].join('\n');
}
