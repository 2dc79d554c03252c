/**
 * Temporal for integration tests: one development server in memory for the run (vitest's globalSetup). Test files keep
 * apart by task queue and workflow ids. $LANDFALL_TEST_TEMPORAL_ADDRESS names a server to use instead.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';
import { searchAttributes } from '../temporal/index.ts';
import { supervise } from '../workers/embedded/part.ts';
import { freePort } from '../workers/embedded/ports.ts';
import { findTemporalCli } from '../workers/embedded/temporal-cli.ts';
import { prepareNamespace } from '../workers/embedded/temporal-namespace.ts';
import { prepareTemporal } from '../workers/embedded/temporal.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    temporalAddress: string;
  }
}

/** For test files: where the run's server listens. Its namespace is `default`, with our search attributes. */
export function testTemporalAddress(): string {
  return inject('temporalAddress');
}

/** vitest's globalSetup. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env['LANDFALL_TEST_TEMPORAL_ADDRESS'];
  if (given) {
    project.provide('temporalAddress', given);
    return async () => undefined;
  }
  const folder = mkdtempSync(join(tmpdir(), 'landfall-temporal-'));
  const embedded = prepareTemporal({
    cli: await findTemporalCli(process.env),
    logFile: join(folder, 'temporal.log'),
    port: await freePort(),
  });
  const part = supervise(embedded.spec, { say: (line) => console.error(line), started: () => undefined });
  await part.firstReady;
  await prepareNamespace(embedded.address, searchAttributes, { embedded: true });
  project.provide('temporalAddress', embedded.address);
  return async () => {
    await part.stop();
    rmSync(folder, { recursive: true, force: true });
  };
}
