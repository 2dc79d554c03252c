// What every command shares: the --json option, the connection, and one way to fail. No command's own matter is here.
import type { Command } from 'commander';
import { createClient, type ApiClient } from './client.ts';
import { readConfiguration } from './configuration.ts';
import { describeFailure } from './failure.ts';

export interface CommandContext {
  readonly client: ApiClient;
  readonly json: boolean;
  /** Prints the value as JSON with --json, else what `human` makes of it. */
  readonly print: <Value>(value: Value, human: (value: Value) => string) => void;
  /** A line for people only; silent with --json. */
  readonly say: (text: string) => void;
}

/** Adds --json to a command that speaks REST and runs it with a connection. */
export function connected(
  command: Command,
  run: (context: CommandContext, positional: readonly string[], options: Record<string, unknown>) => Promise<void>,
): Command {
  return command.option('--json', 'print JSON for programs').action(async (...received: unknown[]) => {
    const options = command.opts();
    const json = options['json'] === true;
    const positional = received.slice(0, -2).flat() as string[];
    await reportFailure(json, async () => {
      const client = createClient(readConfiguration());
      try {
        await run(contextOf(client, json), positional, options);
      } finally {
        await client.close();
      }
    });
  });
}

/** Runs and, when it fails, says why on stderr and sets the exit status. */
export async function reportFailure(json: boolean, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    process.stderr.write(`${describeFailure(error, json)}\n`);
    process.exitCode = 1;
  }
}

function contextOf(client: ApiClient, json: boolean): CommandContext {
  return {
    client,
    json,
    print: (value, human) => {
      process.stdout.write(`${json ? JSON.stringify(value, null, 2) : human(value)}\n`);
    },
    say: (text) => {
      if (!json) process.stdout.write(`${text}\n`);
    },
  };
}
