// Asks the person at the terminal: a yes, or a secret that is not shown. Refuses to wait where nobody can answer.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { CliError } from './failure.ts';

export async function confirm(question: string): Promise<boolean> {
  requireTerminal('The command asks for a confirmation', 'Add --yes to confirm beforehand.');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await terminal.question(`${question} [y/N] `);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    terminal.close();
  }
}

/** From the environment, a file (- is stdin), or the terminal; never from the command line, where others see it. */
export async function readSecret(prompt: string, variable: string, file: string | undefined): Promise<string> {
  if (file !== undefined) return readFileSync(file === '-' ? 0 : file, 'utf8').replace(/\r?\n$/, '');
  const given = process.env[variable];
  if (given !== undefined) return given;
  requireTerminal(
    'A password is needed',
    `Set ${variable}, or name a file with --password-file (- is standard input).`,
  );
  return askHidden(prompt);
}

async function askHidden(prompt: string): Promise<string> {
  process.stderr.write(prompt);
  const { stdin } = process;
  stdin.setRawMode(true);
  stdin.setEncoding('utf8');
  let secret = '';
  try {
    for await (const chunk of stdin) {
      for (const character of String(chunk)) {
        if (character === '\r' || character === '\n') return secret;
        if (character === '\u0003') throw new CliError('Cancelled', 'Ctrl-C was pressed.', 'Run the command again.');
        secret = character === '\u007f' ? secret.slice(0, -1) : secret + character;
      }
    }
    return secret;
  } finally {
    stdin.setRawMode(false);
    process.stderr.write('\n');
  }
}

function requireTerminal(title: string, remedy: string): void {
  if (!process.stdin.isTTY) throw new CliError(title, 'There is no terminal to ask at.', remedy);
}
