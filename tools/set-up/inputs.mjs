// What a task is made from: a hash over the paths and contents of its input files, so that a second run can skip it.
// It must not look at times or at git: a fresh clone and an edited checkout are judged alike.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const skipped = new Set(['node_modules', 'target', '.git', '.landfall', 'coverage']);

/**
 * All files at or under a path, sorted; build and package folders are left out.
 * @param {string} path
 * @returns {string[]}
 */
export function filesUnder(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => !skipped.has(entry.name) && !entry.isSymbolicLink())
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => (entry.isDirectory() ? filesUnder(join(path, entry.name)) : [join(path, entry.name)]));
}

/**
 * Hash of the inputs; `only` narrows the files, `text` adds anything else that decides the result (a version, say).
 * @param {string[]} paths
 * @param {{ only?: RegExp, not?: RegExp, text?: string }} options
 */
export function inputsOf(paths, { only, not, text }) {
  const hash = createHash('sha256').update(text ?? '');
  for (const file of paths.flatMap(filesUnder)) {
    if (only && !only.test(file)) continue;
    if (not?.test(file)) continue;
    hash.update(`\0${file}\0`).update(readFileSync(file));
  }
  return hash.digest('hex');
}
