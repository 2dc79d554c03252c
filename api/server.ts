// The HTTPS server around the app: listens, and ends within a limit, streams included. It makes no certificate.
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { RequestListener } from 'node:http';

export interface TlsFiles {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}

export interface ListeningServer {
  readonly port: number;
  /** New certificate for connections from now on. */
  readonly useCertificate: (tls: TlsFiles) => void;
  close(): Promise<void>;
}

/** Requests under way get this long to end; live streams never would. */
const closeGraceMs = 2_000;

export async function listen(
  app: RequestListener,
  tls: TlsFiles,
  address: string,
  port: number,
): Promise<ListeningServer> {
  const server = createServer({ ...secureContext(tls), minVersion: 'TLSv1.2' }, app);
  server.headersTimeout = 15_000;
  server.requestTimeout = 60_000;
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, address, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    useCertificate: (next) => {
      server.setSecureContext(secureContext(next));
    },
    close: () => closeServer(server),
  };
}

function secureContext({ certificatePem, privateKeyPem }: TlsFiles): { cert: string; key: string } {
  return { cert: certificatePem, key: privateKeyPem };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => {
      resolve();
    });
    server.closeIdleConnections();
    setTimeout(() => {
      server.closeAllConnections();
    }, closeGraceMs).unref();
  });
}
