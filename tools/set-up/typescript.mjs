// From TypeScript to what runs: the database client from its schema, then dist/ from all product folders.
// It must not reach for Prisma's native engine: generating needs none, and machines without its download site must work.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { filesUnder, inputsOf } from './inputs.mjs';

const sources = [
  ...['core', 'contracts', 'temporal', 'workflows', 'activities', 'db', 'vsphere', 'dataplane/client', 'dataplane/iso'],
  ...['api', 'cli', 'workers', 'demo', 'generated'],
];
const versions = () => (existsSync('package-lock.json') ? readFileSync('package-lock.json', 'utf8') : '');

/** @type {import('./runner.mjs').Task} */
export const generateClientTask = {
  name: 'database-client',
  says: 'the database client (prisma generate)',
  after: ['packages'],
  inputs: () => inputsOf(['prisma/schema.prisma', 'prisma.config.ts'], { text: versions() }),
  outputs: ['generated/prisma/client.ts'],
  run: (sh) =>
    sh('node_modules/.bin/prisma', ['generate'], {
      env: { PRISMA_SCHEMA_ENGINE_BINARY: '/bin/true', CHECKPOINT_DISABLE: '1' },
    }),
};

/** Compiled files whose source is gone would still be found by the ones that are left. */
function removeStale() {
  for (const file of sources.flatMap((folder) => filesUnder(`dist/${folder}`))) {
    const source = file.slice('dist/'.length).replace(/\.js(\.map)?$/, '.ts');
    if (!existsSync(source)) rmSync(file);
  }
}

/** @type {import('./runner.mjs').Task} */
export const compileTask = {
  name: 'compile',
  says: 'the control plane (tsc)',
  after: ['packages', 'database-client'],
  inputs: () =>
    inputsOf([...sources, 'tsconfig.base.json', 'tsconfig.build.json'], {
      only: /\.(ts|json)$/,
      not: /\.test\.ts$/,
      text: versions(),
    }),
  outputs: ['dist/workers/up.js'],
  run: async (sh) => {
    if (existsSync('dist')) removeStale();
    await sh('node_modules/.bin/tsc', ['-p', 'tsconfig.build.json']);
  },
};

/** @type {import('./runner.mjs').Task} */
export const bundleTask = {
  name: 'bundle',
  says: 'the workflow bundle',
  after: ['compile'],
  inputs: () =>
    inputsOf(['dist/workflows', 'dist/core', 'dist/contracts', 'dist/temporal', 'tools/set-up/workflow-bundle.mjs'], {
      not: /\.map$/,
      text: versions(),
    }),
  outputs: ['dist/workflow-bundle.js'],
  run: (sh) => sh(process.execPath, ['tools/set-up/workflow-bundle.mjs']),
};
