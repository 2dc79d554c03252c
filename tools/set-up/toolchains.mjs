// The toolchains that must be there already: Node, npm, Rust, Go. Names the remedy for what is missing or too old.
// It installs none of them: which one and from where is the user's choice.
import { spawnSync } from 'node:child_process';

/** @type {{ name: string, command: string[], min: number[], remedy: string }[]} */
const needed = [
  {
    name: 'Node',
    command: ['node', '--version'],
    min: [20, 19],
    remedy: 'install Node 20.19 or later (24 recommended) from nodejs.org, your distribution or a version manager',
  },
  { name: 'npm', command: ['npm', '--version'], min: [10, 0], remedy: 'it comes with Node: install Node again' },
  {
    name: 'Rust',
    command: ['cargo', '--version'],
    min: [1, 88],
    remedy: 'install it with rustup (rustup.rs), or `rustup update` if it is old',
  },
  {
    name: 'Go',
    command: ['go', 'version'],
    min: [1, 25],
    remedy: 'install Go 1.25 or later from go.dev and put its bin folder on PATH',
  },
];

/**
 * @param {string} text
 * @param {number[]} min
 */
function isAtLeast(text, min) {
  const found = /(\d+)\.(\d+)/.exec(text);
  if (!found) return false;
  const [major, minor] = [Number(found[1]), Number(found[2])];
  return major > (min[0] ?? 0) || (major === min[0] && minor >= (min[1] ?? 0));
}

/** Ends the process with one line per toolchain that is missing or too old. */
export function checkToolchains() {
  const missing = needed.flatMap(({ name, command, min, remedy }) => {
    const [program = '', ...args] = command;
    const answer = spawnSync(program, args, { encoding: 'utf8' });
    const version = answer.status === 0 ? answer.stdout.trim() : 'missing';
    if (isAtLeast(version, min)) return [];
    return [`setup: ${name} ${min.join('.')} or later is needed (here: ${version}). Remedy: ${remedy}.`];
  });
  if (missing.length === 0) return;
  console.error(missing.join('\n'));
  process.exit(1);
}
