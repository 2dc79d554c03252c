/**
 * Finds the Temporal command line where tools/setup also looks: $LANDFALL_TEMPORAL_CLI, PATH, our cache.
 * It must not download or build it: setting up does.
 */
import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { MigrationError } from '../../core/index.ts';
import pin from './temporal-cli.json' with { type: 'json' };

export interface TemporalCli {
  readonly path: string;
  /** Version of the server inside: a database file belongs to one. */
  readonly serverVersion: string;
  readonly knowsNewsOption: boolean;
}

const run = promisify(execFile);

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function candidates(env: NodeJS.ProcessEnv): string[] {
  const given = env['LANDFALL_TEMPORAL_CLI'];
  if (given) return [given];
  const onPath = (env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'temporal'));
  const caches = env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  return [...onPath, join(caches, 'landfall', `temporal-${pin.version}`, 'temporal')];
}

export async function findTemporalCli(env: NodeJS.ProcessEnv): Promise<TemporalCli> {
  const path = candidates(env).find(isExecutable);
  if (path === undefined) {
    throw new MigrationError('SERVICE_START_FAILED', 'The Temporal command line was not found', {
      remedy:
        'Run tools/setup, or name it in LANDFALL_TEMPORAL_CLI, or use a server of your own with TEMPORAL_ADDRESS.',
    });
  }
  const [version, help] = await Promise.all([
    run(path, ['--version']),
    run(path, ['server', 'start-dev', '--help'], { maxBuffer: 1 << 20 }),
  ]);
  return {
    path,
    serverVersion: /Server (\d[\w.-]*)/.exec(version.stdout)?.[1] ?? 'unknown',
    knowsNewsOption: help.stdout.includes('--ui-disable-news-fetch'),
  };
}
