/** The options of `landfall up`, from its arguments and the environment. It must not start anything. */
import { parseArgs } from 'node:util';

export interface UpOptions {
  /** One JSON line when ready; everything else goes to standard error. */
  readonly json: boolean;
  readonly help: boolean;
  readonly apiAddress: string;
  readonly apiPort: number;
  /** Workers run elsewhere, as processes of their own: `landfall worker`. */
  readonly withoutWorker: boolean;
  /** A Postgres of the user's own, instead of the embedded one. */
  readonly databaseUrl: string | undefined;
  /** A Temporal server of the user's own, instead of the embedded one. */
  readonly temporalAddress: string | undefined;
}

export const upHelp = `landfall up: starts Postgres, Temporal with its UI, the API and a worker, and keeps them running.

  --json                one JSON line on standard output when ready
  --address ADDR        address the API listens on (127.0.0.1; LANDFALL_API_ADDRESS)
  --port PORT           port the API listens on (8743; LANDFALL_API_PORT)
  --without-worker      starts no worker; nothing moves until one runs: "landfall worker" with the
                        environment that run/worker.env names (docs/scale.md)

LANDFALL_HOME (.landfall) holds data, keys and logs. DATABASE_URL and TEMPORAL_ADDRESS replace the embedded services.
Ctrl-C stops everything; the next start goes on with the same data.
`;

export function upOptionsFrom(args: readonly string[], env: NodeJS.ProcessEnv): UpOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      address: { type: 'string', default: env['LANDFALL_API_ADDRESS'] || '127.0.0.1' },
      port: { type: 'string', default: env['LANDFALL_API_PORT'] || '8743' },
      'without-worker': { type: 'boolean', default: false },
    },
  });
  const apiPort = Number(values.port);
  if (!Number.isInteger(apiPort) || apiPort < 1 || apiPort > 65_535) {
    throw new Error(`--port must be a number from 1 to 65535, not "${values.port}"`);
  }
  return {
    json: values.json,
    help: values.help,
    apiAddress: values.address,
    apiPort,
    withoutWorker: values['without-worker'],
    databaseUrl: env['DATABASE_URL'] || undefined,
    temporalAddress: env['TEMPORAL_ADDRESS'] || undefined,
  };
}
