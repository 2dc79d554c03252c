/** The product's version, from the package.json that was shipped with this program. */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export async function productVersion(): Promise<string> {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const text = await readFile(join(folder, 'package.json'), 'utf8').catch(() => null);
    const found = text === null ? null : (JSON.parse(text) as { name?: string; version?: string });
    if (found?.name === 'landfall') return found.version ?? 'unknown';
    if (folder === dirname(folder)) return 'unknown';
    folder = dirname(folder);
  }
}
