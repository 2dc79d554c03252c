/** A Temporal server in memory of a test's own, for what the shared one must not be told. */
import { searchAttributes } from '../../temporal/index.ts';
import { supervise } from '../../workers/embedded/part.ts';
import { freePort } from '../../workers/embedded/ports.ts';
import { findTemporalCli } from '../../workers/embedded/temporal-cli.ts';
import { prepareNamespace } from '../../workers/embedded/temporal-namespace.ts';
import { prepareTemporal } from '../../workers/embedded/temporal.ts';

export interface TestTemporal {
  readonly address: string;
  stop(): Promise<void>;
}

/** Histories of so many events are long: workflows begin with an empty one at their next safe point. */
export const shortHistories = (events: number) => ({ 'limit.historyCount.suggestContinueAsNew': events });

export async function startTemporal(dynamicConfig: Readonly<Record<string, unknown>> = {}): Promise<TestTemporal> {
  const embedded = prepareTemporal({
    cli: await findTemporalCli(process.env),
    logFile: '/dev/null',
    port: await freePort(),
    dynamicConfig,
  });
  const part = supervise(embedded.spec, { say: (line) => console.error(line), started: () => undefined });
  await part.firstReady;
  await prepareNamespace(embedded.address, searchAttributes, { embedded: true });
  return { address: embedded.address, stop: () => part.stop() };
}
