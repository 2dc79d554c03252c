#!/usr/bin/env node
// The `landfall` command. It puts the commands together and decides nothing.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { addAlarmCommands } from './commands/alarms.ts';
import { addInstallationCommands } from './commands/installation.ts';
import { addKeyCommands } from './commands/keys.ts';
import { addMigrationCommands } from './commands/migrations.ts';
import { addObserveCommands } from './commands/observe.ts';
import { addProcessCommands } from './commands/processes.ts';
import { addClusterCommands, addSiteCommands } from './commands/sites.ts';
import { addTokenCommands } from './commands/tokens.ts';
import { installationRoot } from './configuration.ts';

// Whoever read the output, such as head, may have seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});

const { version } = JSON.parse(readFileSync(join(installationRoot(), 'package.json'), 'utf8')) as { version: string };

const program = new Command('landfall')
  .description('Moves running virtual machines between vSphere sites: live, proven, without snapshots or guest agents.')
  .version(version)
  .showHelpAfterError('(add --help for what there is)')
  .addHelpText(
    'after',
    `
First steps:
  landfall up
  landfall site add old-dc --address vcenter-a.example --user administrator@vsphere.local
  landfall site add new-dc --address vcenter-b.example --user administrator@vsphere.local
  landfall vm list --site old-dc
  landfall cluster configure old-dc
  landfall migrate start app-01 --to new-dc --auto-final --watch

The connection comes from LANDFALL_URL and LANDFALL_TOKEN, else from cli.json in LANDFALL_HOME.`,
  );

addProcessCommands(program);
addInstallationCommands(program);
addSiteCommands(program);
addClusterCommands(program);
addMigrationCommands(program);
addObserveCommands(program);
addAlarmCommands(program);
addTokenCommands(program);
addKeyCommands(program);

await program.parseAsync();
