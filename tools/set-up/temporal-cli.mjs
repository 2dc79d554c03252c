// The Temporal command line, whose development server the embedded set-up runs: found, or made, in this order:
// $LANDFALL_TEMPORAL_CLI, `temporal` on PATH, our cache, the SDK's download (only with LANDFALL_TEMPORAL_DOWNLOAD=1), a
// build of the pinned Go module. workers/embedded/temporal-cli.ts looks in the first three places the same way.
import { accessSync, constants, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

const pin = JSON.parse(readFileSync('workers/embedded/temporal-cli.json', 'utf8'));
const caches = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
const cache = join(caches, 'landfall', `temporal-${pin.version}`);
const downloadMsMax = 180_000;

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function isThere() {
  const given = process.env['LANDFALL_TEMPORAL_CLI'];
  if (given) {
    if (isExecutable(given)) return true;
    console.error(`setup: LANDFALL_TEMPORAL_CLI names ${given}, which cannot be run. Correct it or unset it.`);
    process.exit(1);
  }
  const onPath = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'temporal'));
  return [...onPath, join(cache, 'temporal')].some(isExecutable);
}

/** @type {import('./runner.mjs').Task} */
export const temporalTask = {
  name: 'temporal',
  says: `the Temporal command line ${pin.version} (first time on this machine: built from its Go module)`,
  after: process.env['LANDFALL_TEMPORAL_DOWNLOAD'] ? ['packages'] : [],
  done: isThere,
  run: async (sh) => {
    const making = `${cache}.${process.pid}`;
    mkdirSync(making, { recursive: true });
    try {
      if (process.env['LANDFALL_TEMPORAL_DOWNLOAD']) await download(sh, making).catch(() => {});
      if (!existsSync(join(making, 'temporal'))) {
        const args = ['install', '-trimpath', '-ldflags', '-s -w', `${pin.module}@v${pin.version}`];
        await sh('go', args, { env: { CGO_ENABLED: '0', GOBIN: making } });
      }
      mkdirSync(cache, { recursive: true });
      renameSync(join(making, 'temporal'), join(cache, 'temporal'));
    } finally {
      rmSync(making, { recursive: true, force: true });
    }
  },
};

/**
 * The SDK knows where its makers keep builds; where that place cannot be reached this ends within the SDK's own limits.
 * @param {import('./runner.mjs').Shell} sh
 * @param {string} folder
 */
async function download(sh, folder) {
  const executable = { type: 'cached-download', version: `v${pin.version}`, downloadDir: folder };
  const script = `
    const giveUp = setTimeout(() => process.exit(1), 5000);
    const seen = setInterval(() => {
      if (require('node:fs').readdirSync(${JSON.stringify(folder)}).length > 0) clearTimeout(giveUp);
    }, 200);
    require('@temporalio/testing').TestWorkflowEnvironment.createLocal({ server: { executable: ${JSON.stringify(executable)} } })
      .then((environment) => environment.teardown())
      .then(() => process.exit(0), () => process.exit(1));`;
  await sh(process.execPath, ['-e', script], { killAfterMs: downloadMsMax });
  const got = readdirSync(folder).find((name) => name.startsWith('temporal'));
  if (got) renameSync(join(folder, got), join(folder, 'temporal'));
}
