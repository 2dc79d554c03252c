/**
 * Files that nothing uses: TypeScript that no entry point reaches, Rust files without a `mod`, scripts nobody names.
 * Product code that only tests reach is dead too. It follows relative paths in string literals, so `new URL('./x.ts')` counts.
 */
import { basename, dirname, join } from 'node:path';
import { isTest, type Source } from './source.ts';

const literal = /['"`](\.{1,2}\/[^'"`\s]+?\.(?:ts|mjs|json))['"`]/g;

/** Started or read from outside: process entries, configuration, the workflow bundle, and what package.json runs. */
const entry =
  /^(workers\/(up|api|worker)\.ts|cli\/main\.ts|demo\/main\.ts|workflows\/index\.ts|[^/]+\.config\.\w+|\.[\w-]+\.mjs)$/;

function reachedFrom(start: readonly string[], byPath: ReadonlyMap<string, Source>): Set<string> {
  const reached = new Set<string>();
  const queue = [...start];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    const source = byPath.get(path);
    if (!source || reached.has(path)) continue;
    reached.add(path);
    for (const match of source.text.matchAll(literal)) queue.push(join(dirname(path), match[1] ?? ''));
  }
  return reached;
}

/** Named by its path in a script, in package.json or in a document: someone runs it by hand. */
function namedOutside(path: string, all: readonly Source[]): boolean {
  return all.some((source) => source.path !== path && !source.path.endsWith('.ts') && source.text.includes(path));
}

function deadTypeScript(all: readonly Source[]): string[] {
  const code = all.filter(({ path }) => /\.(ts|mjs)$/.test(path));
  const byPath = new Map(code.map((source) => [source.path, source]));
  const isStarted = (path: string): boolean => entry.test(path) || (!isTest(path) && namedOutside(path, all));
  const product = reachedFrom([...byPath.keys()].filter(isStarted), byPath);
  const withTests = reachedFrom(
    [...byPath.keys()].filter((path) => isStarted(path) || /\.test\.ts$/.test(path)),
    byPath,
  );
  return [...byPath.keys()].flatMap((path) => {
    if (product.has(path) || /\.test\.ts$/.test(path) || path.endsWith('.d.ts')) return [];
    if (!withTests.has(path)) return [`${path}: nothing uses this file`];
    const forTests = /^(test|tools|demo|lab)\//.test(path);
    return forTests ? [] : [`${path}: only tests use this file`];
  });
}

function deadRust(all: readonly Source[]): string[] {
  const rust = all.filter(({ path }) => path.endsWith('.rs'));
  return rust.flatMap(({ path }) => {
    const name = basename(path) === 'mod.rs' ? basename(dirname(path)) : basename(path, '.rs');
    const crate = path.slice(0, path.lastIndexOf('/src/') + 1);
    const isRoot = !path.includes('/src/') || /\/src\/(lib|main|bin\/[^/]+)\.rs$/.test(path) || name === 'build';
    const declared = new RegExp(`\\bmod ${name}\\b|#\\[path = "[^"]*${name}\\.rs"\\]`);
    if (isRoot || rust.some((other) => other.path.startsWith(crate) && declared.test(other.text))) return [];
    return [`${path}: no module declares this file`];
  });
}

function deadScripts(all: readonly Source[]): string[] {
  const scripts = all.filter(({ path }) => path.endsWith('.sh'));
  return scripts.flatMap(({ path }) => {
    const named = all.some((other) => other.path !== path && other.text.includes(basename(path)));
    return named ? [] : [`${path}: nothing names this script`];
  });
}

export function deadFiles(all: readonly Source[]): string[] {
  return [...deadTypeScript(all), ...deadRust(all), ...deadScripts(all)];
}
