/**
 * The embedded Temporal server: development server with its UI on loopback, its data in one file per server version
 * (it does not upgrade files). It must not start the server: part.ts does.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { endsWithParent } from './launch.ts';
import type { PartSpec } from './part.ts';
import type { TemporalCli } from './temporal-cli.ts';

interface TemporalPlace {
  readonly cli: TemporalCli;
  /** Without one the server keeps everything in memory. */
  readonly dataFolder?: string;
  readonly logFile: string;
  readonly port: number;
  /** Without one there is no UI. */
  readonly uiPort?: number;
  /** Where the UI has encrypted payloads shown in clear. */
  readonly codecEndpoint?: string;
  /** Tests make the server's limits small: names and JSON values of its dynamic configuration. */
  readonly dynamicConfig?: Readonly<Record<string, unknown>>;
}

export interface EmbeddedTemporal {
  readonly spec: PartSpec;
  readonly address: string;
}

/** Says how to run the server; makes its folder. May be called again. */
export function prepareTemporal(place: TemporalPlace): EmbeddedTemporal {
  const { cli, dataFolder, logFile, port, uiPort, codecEndpoint, dynamicConfig = {} } = place;
  const address = `127.0.0.1:${port}`;
  const args = ['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--log-level', 'warn'];
  for (const [name, value] of Object.entries(dynamicConfig)) {
    args.push('--dynamic-config-value', `${name}=${JSON.stringify(value)}`);
  }
  if (dataFolder !== undefined) {
    mkdirSync(dataFolder, { recursive: true, mode: 0o700 });
    args.push('--db-filename', join(dataFolder, `server-${cli.serverVersion}.db`));
  }
  if (uiPort === undefined) args.push('--headless');
  else args.push('--ui-ip', '127.0.0.1', '--ui-port', String(uiPort));
  if (uiPort !== undefined && codecEndpoint !== undefined) args.push('--ui-codec-endpoint', codecEndpoint);
  if (uiPort !== undefined && cli.knowsNewsOption) args.push('--ui-disable-news-fetch');
  const [program, ...rest] = [...endsWithParent('SIGTERM'), cli.path, ...args];
  return {
    address,
    spec: {
      name: 'temporal',
      command: [program ?? cli.path, ...rest],
      env: process.env,
      logFile,
      stopSignal: 'SIGTERM',
      stopMsMax: 10_000,
      readyMsMax: 60_000,
      probe: () => answers(address),
    },
  };
}

async function answers(address: string): Promise<boolean> {
  const connection = await Connection.connect({ address, connectTimeout: 1_000 });
  try {
    await connection.workflowService.describeNamespace({ namespace: 'default' });
    return true;
  } finally {
    await connection.close();
  }
}
