// Where the API is and how to speak to it: from the environment, else from the file that the first start wrote.
// It reads; it asks and writes nothing.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { CliError } from './failure.ts';

export interface Configuration {
  readonly url: string;
  readonly token: string;
  /** Certificate of the installation's authority; undefined where the system's own trust is to decide. */
  readonly authorityPem: string | undefined;
}

const configurationFile = z.object({
  url: z.string(),
  token: z.string(),
  authorityPem: z.string().optional(),
});

/** Folder of the installation's run-time state. */
export function homeDirectory(): string {
  return resolve(process.env['LANDFALL_HOME'] ?? join(installationRoot(), '.landfall'));
}

export function readConfiguration(): Configuration {
  const file = join(homeDirectory(), 'cli.json');
  const stored = existsSync(file) ? configurationFile.safeParse(parseJson(readFileSync(file, 'utf8'))) : undefined;
  const url = process.env['LANDFALL_URL'] || stored?.data?.url;
  const token = process.env['LANDFALL_TOKEN'] || stored?.data?.token;
  if (url === undefined || token === undefined) {
    throw new CliError(
      'No connection is configured',
      stored?.success === false
        ? `${file} is damaged.`
        : `There is no ${file}, and LANDFALL_URL and LANDFALL_TOKEN are not both set.`,
      'Run "landfall up" first, go to the folder where it was started, or set LANDFALL_HOME, or LANDFALL_URL and LANDFALL_TOKEN.',
    );
  }
  const authorityFile = process.env['LANDFALL_AUTHORITY_FILE'];
  const authorityPem = authorityFile === undefined ? stored?.data?.authorityPem : readFileSync(authorityFile, 'utf8');
  return { url: url.replace(/\/+$/, ''), token, authorityPem };
}

/** The folder that holds package.json, from the sources as from dist/. */
export function installationRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder)
      throw new CliError('The installation is damaged', 'package.json is missing.', 'Install again.');
    folder = parent;
  }
  return folder;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
