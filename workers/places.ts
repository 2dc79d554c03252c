/**
 * Where things lie: the checkout (or package), what the set-up built, and the home of this installation with its data.
 * The same answer from source and from dist/. It must not create anything.
 */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

export interface Places {
  /** Folder with package.json: migrations, node_modules. */
  readonly root: string;
  /** What tools/setup made: replicator, agent ISO, host package. */
  readonly build: string;
  /** Data, keys and logs of this installation. */
  readonly home: string;
}

function packageRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

export function placesFrom(env: NodeJS.ProcessEnv): Places {
  const root = packageRoot();
  return {
    root,
    build: resolve(env['LANDFALL_BUILD'] ?? join(root, 'build')),
    home: resolve(env['LANDFALL_HOME'] ?? join(root, '.landfall')),
  };
}
