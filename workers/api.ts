// Entry point of the API process: opens database, authority, workflow engine and events, serves until it is told to stop.
// The composition root: nothing here decides anything about a request.
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import express, { type RequestHandler } from 'express';
import {
  codecServer,
  createApp,
  createFirstToken,
  createLogger,
  createRouteTable,
  createSiteConnector,
  createTemporalGateway,
  keepHouse,
  keepStartingQueued,
  keepTellingParts,
  listen,
  openEventHub,
  refreshCliFile,
  writeCliFile,
  type ListeningServer,
  type Services,
  type TlsFiles,
} from '../api/index.ts';
import { ports } from '../core/index.ts';
import { openAuthority, type Authority } from '../dataplane/client/index.ts';
import { holdPresence, migrate, openDatabase, sealingKey, whenDatabaseAnswers } from '../db/index.ts';
import { makePayloadCodec } from '../temporal/payload-codec.ts';
import {
  codecSecret,
  openKeyring,
  payloadKeysFile,
  readPayloadKeys,
  rotatePayloadKeys,
  type PayloadKeyring,
} from '../temporal/payload-keys.ts';
import { partsFileIn } from './embedded/parts-file.ts';
import { placesFrom, type Places } from './places.ts';

const certificateCheckMs = 6 * 3_600_000;

const log = createLogger();

const help = `landfall api: serves the API of the installation that LANDFALL_HOME, DATABASE_URL and TEMPORAL_ADDRESS name.

  LANDFALL_API_ADDRESS            address it listens on (127.0.0.1)
  LANDFALL_API_PORT               port it listens on (${ports.api})
  LANDFALL_API_URL                how hosts and clients reach it (https://ADDRESS:PORT)
  LANDFALL_API_CERTIFICATE_FILE   a certificate of your own, with
  LANDFALL_API_KEY_FILE           its key
`;

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { help: { type: 'boolean', default: false } } });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const places = placesFrom(process.env);
  const address = process.env['LANDFALL_API_ADDRESS'] ?? '127.0.0.1';
  const port = Number(process.env['LANDFALL_API_PORT'] ?? ports.api);
  const authority = await openAuthority(join(places.home, 'authority'));
  const keys = await openKeyring(payloadKeysFile(places.home));
  const services = await openServices(places, authority, keys);
  const codec = codecServer(makePayloadCodec(keys), codecSecret(keys.all), codecOrigins(process.env));
  const app = createApp(createRouteTable(services.version).routes, services, { codec });
  const server = await listen(app, await certificate(authority, address), address, port);
  const stops = [
    await listenForUi(codec, process.env['LANDFALL_CODEC_PORT']),
    keepStartingQueued(services),
    keepHouse(services),
    keepTellingParts(services),
    keepCertificate(server, () => certificate(authority, address)),
  ];
  stopOnSignal(async () => {
    for (const stop of stops) stop();
    await server.close();
    await Promise.allSettled([
      services.events.close(),
      services.presence.close(),
      services.sites.close(),
      services.workflows.close(),
    ]);
    await services.database.close();
  });
  const api = process.env['LANDFALL_API_URL'] ?? `https://${address}:${server.port}`;
  const ready = await provideToken(services, join(places.home, 'cli.json'), api, authority.certificatePem);
  log.info({ url: api }, 'the API listens');
  process.stdout.write(`${JSON.stringify({ ready: true, api, ...ready })}\n`);
}

/** Where the Temporal UI is served from: the embedded one, or those that an administrator names. */
function codecOrigins(env: NodeJS.ProcessEnv): readonly string[] {
  const named = (env['LANDFALL_TEMPORAL_UI_ORIGINS'] ?? '').split(',').filter((origin) => origin !== '');
  return [...named, ...(env['LANDFALL_TEMPORAL_UI'] === undefined ? [] : [env['LANDFALL_TEMPORAL_UI']])];
}

/** The embedded UI is plain HTTP on loopback, and its browser does not know our certificate: so is its codec server. */
async function listenForUi(codec: RequestHandler, port: string | undefined): Promise<() => void> {
  if (port === undefined) return () => undefined;
  const server = createServer(express().disable('x-powered-by').use(codec));
  server.listen(Number(port), '127.0.0.1');
  await once(server, 'listening');
  return () => void server.close();
}

async function openServices(places: Places, authority: Authority, keys: PayloadKeyring): Promise<Services> {
  const databaseUrl = required('DATABASE_URL');
  const temporalAddress = required('TEMPORAL_ADDRESS');
  const { version } = JSON.parse(readFileSync(join(places.root, 'package.json'), 'utf8')) as { version: string };
  await patiently(() => migrate(databaseUrl));
  const database = openDatabase(databaseUrl);
  const seal = sealingKey(authority.encryptionKey);
  return {
    database,
    sealingKey: seal,
    presence: await patiently(() => holdPresence(databaseUrl)),
    sites: createSiteConnector(database, seal),
    workflows: createTemporalGateway(temporalAddress, keys),
    payloadKeys: {
      list: () => readPayloadKeys(payloadKeysFile(places.home)),
      rotate: () => rotatePayloadKeys(payloadKeysFile(places.home)),
    },
    events: await patiently(() => openEventHub(database, databaseUrl, log)),
    requestDigestKey: createHmac('sha256', authority.encryptionKey).update('landfall request digests v1').digest(),
    hostPackageFile: join(places.build, 'landfall-host.vib'),
    partsFile: partsFileIn(places.home),
    identity: {
      installationId: authority.installationId,
      authorityPem: authority.certificatePem,
      receiptFingerprint: authority.receiptSigner.fingerprint,
    },
    version,
    log,
    now: () => new Date(),
  };
}

/** Postgres may start after us, or again while we start. */
function patiently<T>(work: () => Promise<T>): Promise<T> {
  return whenDatabaseAnswers(work, (error) => {
    log.warn({ err: error }, 'the database does not answer yet');
  });
}

/** Makes the first token of an installation that has none, and keeps the command line's file right. */
async function provideToken(services: Services, tokenFile: string, url: string, authorityPem: string) {
  const keep = (token: string): Promise<void> => writeCliFile(tokenFile, { url, token, authorityPem });
  const firstToken = await patiently(() => createFirstToken(services.database, services.now(), keep));
  if (firstToken === null) await refreshCliFile(tokenFile, { url, authorityPem });
  return { firstToken, tokenFile };
}

/** A given certificate, else one of the installation's own authority. */
async function certificate(authority: Authority, address: string): Promise<TlsFiles> {
  const certificateFile = process.env['LANDFALL_API_CERTIFICATE_FILE'];
  const keyFile = process.env['LANDFALL_API_KEY_FILE'];
  if (certificateFile !== undefined && keyFile !== undefined) {
    return { certificatePem: readFileSync(certificateFile, 'utf8'), privateKeyPem: readFileSync(keyFile, 'utf8') };
  }
  const url = process.env['LANDFALL_API_URL'];
  const hosts = [address, ...(url === undefined ? [] : [new URL(url).hostname.replace(/^\[|\]$/g, '')])];
  return authority.ensureServerCertificate(hosts.filter((host) => host !== '0.0.0.0' && host !== '::'));
}

/** Certificates are renewed long before they end, also in a process that runs for months. */
function keepCertificate(server: ListeningServer, current: () => Promise<TlsFiles>): () => void {
  const timer = setInterval(() => {
    current().then(server.useCertificate, (error: unknown) => {
      log.error({ err: error }, 'the certificate could not be renewed');
    });
  }, certificateCheckMs);
  return () => {
    clearInterval(timer);
  };
}

function stopOnSignal(stop: () => Promise<void>): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => void stop().finally(() => process.exit(0)));
  }
}

function required(name: string): string {
  const value = process.env[name];
  if (value !== undefined && value !== '') return value;
  throw new Error(`${name} is not set. Start the API with "landfall up", or set it.`);
}

main().catch((error: unknown) => {
  log.fatal({ err: error }, 'the API could not start');
  process.exitCode = 1;
  process.exit();
});
