// Entry point of the API process: opens database, authority, workflow engine and events, serves until it is told to stop.
// The composition root: nothing here decides anything about a request.
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  createApp,
  createFirstToken,
  createLogger,
  createRouteTable,
  createSiteConnector,
  createTemporalGateway,
  keepHouse,
  keepStartingQueued,
  listen,
  openEventHub,
  writeCliFile,
  type Services,
  type TlsFiles,
} from '../api/index.ts';
import { ports } from '../core/index.ts';
import { openAuthority, type Authority } from '../dataplane/client/index.ts';
import { migrate, openDatabase, sealingKey } from '../db/index.ts';
import { placesFrom } from './places.ts';

const certificateCheckMs = 6 * 3_600_000;

const log = createLogger();
const places = placesFrom(process.env);
const databaseUrl = required('DATABASE_URL');
const temporalAddress = required('TEMPORAL_ADDRESS');
const address = process.env['LANDFALL_API_ADDRESS'] ?? '127.0.0.1';
const port = Number(process.env['LANDFALL_API_PORT'] ?? ports.api);
const { version } = JSON.parse(readFileSync(join(places.root, 'package.json'), 'utf8')) as { version: string };

await migrate(databaseUrl);
const database = openDatabase(databaseUrl);
const authority = await openAuthority(join(places.home, 'authority'));
const seal = sealingKey(authority.encryptionKey);
const services: Services = {
  database,
  sealingKey: seal,
  sites: createSiteConnector(database, seal),
  workflows: createTemporalGateway(temporalAddress),
  events: await openEventHub(database, databaseUrl, log),
  requestDigestKey: createHmac('sha256', authority.encryptionKey).update('landfall request digests v1').digest(),
  hostPackageFile: join(places.build, 'landfall-host.vib'),
  version,
  log,
  now: () => new Date(),
};
const server = await listen(
  createApp(createRouteTable(version).routes, services),
  await certificate(authority),
  address,
  port,
);
const url = process.env['LANDFALL_API_URL'] ?? `https://${address}:${server.port}`;
const tokenFile = join(places.home, 'cli.json');
const firstToken = await createFirstToken(database, services.now());
if (firstToken !== null)
  await writeCliFile(tokenFile, { url, token: firstToken, authorityPem: authority.certificatePem });
const stops = [keepStartingQueued(services), keepHouse(services), renewCertificate()];
log.info({ url }, 'the API listens');
process.stdout.write(`${JSON.stringify({ ready: true, api: url, firstToken, tokenFile })}\n`);

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => void stop().finally(() => process.exit(0)));
}

async function stop(): Promise<void> {
  for (const end of stops) end();
  await server.close();
  await Promise.allSettled([services.events.close(), services.sites.close(), services.workflows.close()]);
  await database.close();
}

/** A given certificate, else one of the installation's own authority. */
async function certificate(signer: Authority): Promise<TlsFiles> {
  const certificateFile = process.env['LANDFALL_API_CERTIFICATE_FILE'];
  const keyFile = process.env['LANDFALL_API_KEY_FILE'];
  if (certificateFile !== undefined && keyFile !== undefined) {
    return { certificatePem: readFileSync(certificateFile, 'utf8'), privateKeyPem: readFileSync(keyFile, 'utf8') };
  }
  const names = new Set([address, ...urlHosts(process.env['LANDFALL_API_URL'])]);
  return signer.ensureServerCertificate([...names].filter((name) => name !== '0.0.0.0' && name !== '::'));
}

function urlHosts(text: string | undefined): string[] {
  return text === undefined ? [] : [new URL(text).hostname.replace(/^\[|\]$/g, '')];
}

/** Certificates are renewed long before they end, also in a process that runs for months. */
function renewCertificate(): () => void {
  const timer = setInterval(() => {
    certificate(authority).then(server.useCertificate, (error: unknown) => {
      log.error({ err: error }, 'the certificate could not be renewed');
    });
  }, certificateCheckMs);
  return () => {
    clearInterval(timer);
  };
}

function required(name: string): string {
  const value = process.env[name];
  if (value !== undefined && value !== '') return value;
  process.stderr.write(`${name} is not set. Start the API with "landfall up", or set it.\n`);
  process.exit(2);
}
