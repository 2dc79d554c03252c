/**
 * Rules about the installed packages: all of Temporal at one exact version, and one protobufjs for all of it. With a second
 * copy below @temporalio, reading a workflow history from JSON fails ("type must be a Type").
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Source } from './source.ts';

interface Manifest {
  readonly dependencies: Record<string, string>;
  readonly devDependencies: Record<string, string>;
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
    ...(versions.size === 1 && exact ? [] : ['package.json: all @temporalio packages stand at one exact version']),
    ...nested.map((name) => `${scope}/${name}: has a protobufjs of its own; see tools/tidy/packages.ts`),
  ];
}
