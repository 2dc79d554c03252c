// Debian packages: QEMU and the tools that make guest and agent images. Installed by apt as root or with a password-less
// sudo; else they are named with the command to type. It must not touch packages that are already there.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';

const packages = [
  ...[
    'qemu-system-x86',
    'qemu-utils',
    'busybox-static',
    'cpio',
    'xorriso',
    'isolinux',
    'syslinux-common',
    'socat',
    'jq',
  ],
  ...[
    'e2fsprogs',
    'kmod',
    'nbdkit',
    'libnbd-bin',
    'fio',
    'rsync',
    'gcc',
    'libc6-dev',
    'ca-certificates',
    'util-linux',
    'openssl',
  ],
];
const lists = '/var/lib/apt/lists';

function missingPackages() {
  const answer = spawnSync('dpkg-query', ['-W', '-f=${Package} ${db:Status-Status}\n', ...packages], {
    encoding: 'utf8',
  });
  const installed = new Set(
    (answer.stdout ?? '').split('\n').flatMap((line) => (line.endsWith(' installed') ? [line.split(' ')[0]] : [])),
  );
  return packages.filter((name) => !installed.has(name));
}

const hasLists = () => existsSync(lists) && readdirSync(lists).some((name) => name.includes('_Packages'));

/** Words to put before an apt command so that it may install, or undefined when this user may not. */
function privilege() {
  if (process.getuid?.() === 0) return [];
  return spawnSync('sudo', ['-n', 'true']).status === 0 ? ['sudo', '-n'] : undefined;
}

/** @param {string[]} missing */
function explain(missing) {
  if (!existsSync('/usr/bin/apt-get')) {
    return `this is not a Debian system. Install what these Debian packages give: ${missing.join(' ')}`;
  }
  return `run: sudo apt-get update && sudo apt-get install --no-install-recommends ${missing.join(' ')}`;
}

/** @type {import('./runner.mjs').Task} */
export const debianTask = {
  name: 'debian',
  says: 'Debian packages',
  // Package lists are needed too: the guest image is made from a kernel package that is fetched, not installed.
  done: () => missingPackages().length === 0 && (hasLists() || existsSync('build/guest/vmlinuz')),
  run: async (sh) => {
    const missing = missingPackages();
    const before = privilege();
    if (!before || !existsSync('/usr/bin/apt-get')) {
      if (missing.length === 0) return;
      throw new Error(explain(missing));
    }
    /** @param {string[]} args */
    const apt = (...args) => {
      const [program = '', ...rest] = [...before, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-q', ...args];
      return sh(program, rest);
    };
    const install = () => apt('install', '-y', '--no-install-recommends', ...missing);
    if (!hasLists()) await apt('update');
    if (missing.length === 0) return;
    // Lists that are old name files that are gone: fetch them once more before giving up.
    await install().catch(async () => {
      await apt('update');
      await install();
    });
  },
};
