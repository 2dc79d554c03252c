/**
 * Documents that are made from code and checked in, so that reviewers see a change of a boundary: openapi.json of the REST
 * API, dataplane/openapi.json of the replicator, and the client types made from that. Compares; `--write` renews them.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRouteTable } from '../api/routes/index.ts';

const write = process.argv.includes('--write');
const replicatorDocument = 'dataplane/openapi.json';

function restDocument(): string {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  return `${JSON.stringify(createRouteTable(version).document, null, 2)}\n`;
}

function clientTypes(): string {
  const folder = mkdtempSync(join(tmpdir(), 'landfall-types-'));
  try {
    const file = join(folder, 'types.ts');
    execFileSync('node_modules/.bin/openapi-typescript', [replicatorDocument, '--output', file], { stdio: 'pipe' });
    return readFileSync(file, 'utf8');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** In this order: the types come from the document before them. */
const documents: readonly (readonly [path: string, make: () => string])[] = [
  ['openapi.json', restDocument],
  [replicatorDocument, () => execFileSync('build/replicator', ['openapi'], { encoding: 'utf8' })],
  ['dataplane/client/control-api.generated.ts', clientTypes],
];

for (const [path, make] of documents) {
  const made = make();
  const kept = existsSync(path) ? readFileSync(path, 'utf8') : '';
  if (made.trimEnd() === kept.trimEnd()) continue;
  if (write) {
    writeFileSync(path, `${made.trimEnd()}\n`);
    process.stdout.write(`${path}: written\n`);
  } else {
    process.stderr.write(`${path} is not what the code gives. If the change is meant: npm run openapi\n`);
    process.exitCode = 1;
  }
}
