// The set-up itself: what is built, from what, in which order. Runs before any package is installed: Node's own modules only.
// It must not ask questions, and leaves nothing outside the checkout but caches and Debian packages.
import { existsSync, mkdirSync } from 'node:fs';
import { checkToolchains } from './toolchains.mjs';
import { debianTask } from './debian.mjs';
import { hydratePostgresTask, packagesTask } from './node-packages.mjs';
import { inputsOf } from './inputs.mjs';
import { holdLock, runTasks } from './runner.mjs';
import { temporalTask } from './temporal-cli.mjs';
import { bundleTask, compileTask, generateClientTask } from './typescript.mjs';

const begun = performance.now();
checkToolchains();
mkdirSync('build/.stamps', { recursive: true });
mkdirSync('build/logs', { recursive: true });
await holdLock('build/.stamps/lock');

/** @type {import('./runner.mjs').Task[]} */
const tasks = [
  debianTask,
  packagesTask,
  hydratePostgresTask,
  generateClientTask,
  compileTask,
  bundleTask,
  {
    name: 'replicator',
    says: 'the replicator (Rust, release build)',
    after: ['debian'],
    inputs: () => inputsOf(['dataplane'], { only: /(\.rs|\.toml|Cargo\.lock|openapi\.json)$/ }),
    outputs: ['build/replicator'],
    run: async (sh) => {
      await sh('cargo', ['build', '--release', '--locked', '--bin', 'replicator'], { cwd: 'dataplane' });
      const built = ['dataplane/target/x86_64-unknown-linux-gnu/release', 'dataplane/target/release']
        .map((folder) => `${folder}/replicator`)
        .find((path) => existsSync(path));
      await sh('install', ['-m', '755', built ?? 'replicator', 'build/replicator']);
    },
  },
  temporalTask,
  {
    name: 'lab',
    says: 'the lab (Go)',
    after: ['debian'],
    inputs: () => inputsOf(['lab'], { only: /(\.go|go\.mod|go\.sum)$/ }),
    outputs: ['build/lab'],
    run: (sh) => sh('go', ['build', '-trimpath', '-ldflags', '-s -w', '-o', '../build/lab', '.'], { cwd: 'lab' }),
  },
  {
    name: 'guest',
    says: 'the guest image of the lab',
    after: ['debian'],
    inputs: () => inputsOf(['lab/guest'], {}),
    outputs: ['build/guest/vmlinuz', 'build/guest/initrd.gz'],
    run: (sh) => sh('lab/guest/build.sh', ['build/guest']),
  },
  {
    name: 'agent',
    says: 'the agent ISO and the host package',
    after: ['replicator', 'debian'],
    inputs: () => inputsOf(['dataplane/iso', 'build/replicator'], {}),
    outputs: ['build/agent.iso', 'build/agent.json', 'build/landfall-host.vib', 'build/host-package.json'],
    run: (sh) => sh('dataplane/iso/build.sh', ['build']),
  },
];

const did = await runTasks(tasks, { only: process.argv.slice(2) });
if (did > 0) console.log(`setup: ready after ${Math.round((performance.now() - begun) / 1000)} s`);
