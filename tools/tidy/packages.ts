/**
 * Rules about the installed packages: all of Temporal at one exact version, and one protobufjs for all of it. With a second
 * copy below @temporalio, reading a workflow history from JSON fails ("type must be a Type"). And a lock file that `npm ci`
 * accepts: npm leaves out an optional package that its registry does not have yet, and then refuses its own lock file. Cure:
 * an override to the version before, as for @swc/core now; it can go when `npm install` without it passes this rule.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Source } from './source.ts';

interface Manifest {
  readonly dependencies: Record<string, string>;
  readonly devDependencies: Record<string, string>;
}

interface Lock {
  readonly packages: Record<string, { readonly optionalDependencies?: Record<string, string> }>;
}

function unlockedOptional(lock: Source | undefined): string[] {
  if (!lock) return ['package-lock.json is not there'];
  const { packages } = JSON.parse(lock.text) as Lock;
  const locked = new Set(Object.keys(packages).map((path) => path.slice(path.lastIndexOf('node_modules/') + 13)));
  return Object.entries(packages).flatMap(([path, { optionalDependencies }]) =>
    Object.keys(optionalDependencies ?? {})
      .filter((name) => !locked.has(name))
      .map((name) => `package-lock.json: ${path} wants ${name}, which is not locked; see tools/tidy/packages.ts`),
  );
}

export function packageProblems(all: readonly Source[]): string[] {
  const manifest = all.find(({ path }) => path === 'package.json');
  if (!manifest) return ['package.json is not there'];
  const { dependencies, devDependencies } = JSON.parse(manifest.text) as Manifest;
  const temporal = Object.entries({ ...dependencies, ...devDependencies }).filter(([name]) =>
    name.startsWith('@temporalio/'),
  );
  const versions = new Set(temporal.map(([, version]) => version));
  const exact = [...versions].every((version) => /^\d+\.\d+\.\d+$/.test(version));
  const scope = join('node_modules', '@temporalio');
  const nested = existsSync(scope)
    ? readdirSync(scope).filter((name) => existsSync(join(scope, name, 'node_modules', 'protobufjs')))
    : [];
  return [
    ...unlockedOptional(all.find(({ path }) => path === 'package-lock.json')),
    ...(versions.size === 1 && exact ? [] : ['package.json: all @temporalio packages stand at one exact version']),
    ...nested.map((name) => `${scope}/${name}: has a protobufjs of its own; see tools/tidy/packages.ts`),
  ];
}
