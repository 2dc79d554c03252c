// The environment that `landfall up` writes for workers that run elsewhere: where everything of an installation is.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export async function environmentOf(home: string): Promise<Record<string, string>> {
  const text = await readFile(join(home, 'run', 'worker.env'), 'utf8');
  const lines = text.split('\n').filter((line) => line !== '');
  return Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const),
  );
}
