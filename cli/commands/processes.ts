// landfall up, api, worker: start the entry points in workers/ as processes of their own. The command line never imports
// them; it hands signals through and ends as they end.
import { spawn } from 'node:child_process';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';

const processes = [
  ['up', 'start Postgres, Temporal, API and worker, and keep them running'],
  ['api', 'start the API alone (DATABASE_URL, TEMPORAL_ADDRESS)'],
  ['worker', 'start a worker alone (DATABASE_URL, TEMPORAL_ADDRESS)'],
] as const;

export function addProcessCommands(program: Command): void {
  for (const [name, description] of processes) {
    program
      .command(name)
      .description(description)
      .allowUnknownOption()
      .allowExcessArguments()
      .helpOption(false)
      .argument('[options...]', 'options of the process; --help lists them')
      .action(async (_options: string[], _known: unknown, command: Command) => {
        process.exitCode = await runEntryPoint(name, command.args);
      });
  }
}

async function runEntryPoint(name: string, args: readonly string[]): Promise<number> {
  const here = fileURLToPath(import.meta.url);
  const entryPoint = join(dirname(here), '..', '..', 'workers', `${name}${extname(here)}`);
  const child = spawn(process.execPath, [...process.execArgv, entryPoint, ...args], { stdio: 'inherit' });
  // A terminal sends Ctrl-C to both, a supervisor or a script only to us; hearing it twice does no harm.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void child.kill(signal));
  return new Promise((done) => {
    child.once('close', (status) => {
      done(status ?? 1);
    });
  });
}
