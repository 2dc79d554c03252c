// A TLS server that behaves like an agent's control port, in this process and with faults on demand: for tests of the client
// alone. What the real replicator does is tested against the real replicator.
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { webcrypto } from 'node:crypto';
import { createServer as createHttpsServer } from 'node:https';
import type { Server as HttpsServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { createKeys, fingerprintOf, readCertificate } from '../../dataplane/client/x509.ts';
import { createRequest, createSelfSigned } from './certificates.ts';

export interface AgentFaults {
  /** Answers begin with a proof made from another secret. */
  wrongProof?: boolean;
  /** Asks for a certificate for a key that is not the connection's. */
  otherKeyInRequest?: boolean;
  /** Closes the connection instead of answering this path; with `after`, it has done what was asked before. */
  dropAt?: { path: string; after: boolean };
  /** Never answers anything. */
  mute?: boolean;
}

export interface StandInOptions {
  readonly role: 'host' | 'receiver';
  readonly agentId: string;
  readonly secret: string;
  readonly address?: string;
  readonly faults?: AgentFaults;
  /** Answers everything but agent and enrolment: status and JSON, or null for 404. */
  readonly answer?: (method: string, path: string, body: unknown) => StandInAnswer | null;
}

export interface StandInAnswer {
  readonly status: number;
  readonly json: unknown;
  /** Instead of `json`: these pieces, one after the other, as a body that then ends, or goes on without a word. */
  readonly pieces?: readonly string[];
  readonly goesOn?: boolean;
}

export interface AgentStandIn {
  readonly endpoint: { address: string; port: number };
  readonly faults: AgentFaults;
  readonly spkiDer: Buffer;
  readonly spkiSha256: string;
  readonly keys: webcrypto.CryptoKeyPair;
  /** The certificate in force, null before enrolment. A test may put another one in. */
  certificate: { certificatePem: string; authorityPem: string } | null;
  /** Connections accepted so far. */
  readonly connections: () => number;
  /** Ends all open connections, as a restart would. */
  dropConnections(): void;
  close(): Promise<void>;
}

export async function startAgentStandIn(options: StandInOptions): Promise<AgentStandIn> {
  const own = await createKeys();
  const other = await createKeys();
  const selfSigned = await createSelfSigned(own.keys);
  const spkiDer = readCertificate(selfSigned)?.spkiDer ?? Buffer.alloc(0);
  const secret = Buffer.from(options.secret, 'base64');
  const sockets = new Set<Socket>();
  const begun = new WeakSet<object>();
  const faults: AgentFaults = options.faults ?? {};
  let connections = 0;

  const listener = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    if (!faults.mute) serverFor().emit('connection', socket);
  });

  function serverFor(): HttpsServer {
    const tls = { key: own.privateKeyPem, minVersion: 'TLSv1.3' as const, ALPNProtocols: ['http/1.1'] };
    const { certificate } = standIn;
    const server =
      certificate === null
        ? createHttpsServer({ ...tls, cert: selfSigned }, handle)
        : createHttpsServer(
            {
              ...tls,
              cert: certificate.certificatePem,
              ca: certificate.authorityPem,
              requestCert: true,
              rejectUnauthorized: true,
            },
            handle,
          );
    server.on('tlsClientError', (_error, socket) => socket.destroy());
    return server;
  }

  function handle(request: IncomingMessage, response: ServerResponse): void {
    if (faults.dropAt?.path === request.url && !faults.dropAt?.after) {
      request.socket.destroy();
      return;
    }
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      void respond(request, chunks.length === 0 ? null : JSON.parse(Buffer.concat(chunks).toString())).then(
        ({ status, json, pieces, goesOn }) => {
          if (faults.dropAt?.path === request.url && faults.dropAt?.after) request.socket.destroy();
          response.writeHead(status, {
            'content-type': status < 400 ? 'application/json' : 'application/problem+json',
          });
          if (pieces === undefined) {
            response.end(json === undefined ? undefined : JSON.stringify(json));
            return;
          }
          for (const piece of pieces) response.write(piece);
          if (goesOn !== true) response.end();
        },
      );
    });
  }

  async function respond(request: IncomingMessage, body: unknown): Promise<StandInAnswer> {
    const [method = '', path = ''] = [request.method, request.url];
    const socket = request.socket as TLSSocket;
    switch (`${method} ${path}`) {
      case 'GET /v1/agent':
        return { status: 200, json: agentStatus() };
      case 'POST /v1/enrol/begin':
        return begin(socket, body as { proof?: string });
      case 'POST /v1/enrol/complete':
        if (!begun.has(socket)) return refusal(409, 'ENROL_NOT_BEGUN');
        standIn.certificate = body as { certificatePem: string; authorityPem: string };
        return { status: 200, json: agentStatus() };
      default:
        return options.answer?.(method, path, body) ?? refusal(404, 'NOT_FOUND');
    }
  }

  async function begin(socket: TLSSocket, body: { proof?: string }): Promise<{ status: number; json: unknown }> {
    const exporter = socket.exportKeyingMaterial(32, 'EXPORTER-landfall-enrol', Buffer.alloc(0));
    const proof = (label: string, key: Buffer): Buffer =>
      createHmac('sha256', key)
        .update(Buffer.concat([Buffer.from(label), exporter, spkiDer]))
        .digest();
    const csrPem = await createRequest(faults.otherKeyInRequest ? other.keys : own.keys);
    begun.add(socket);
    if (standIn.certificate !== null) return { status: 200, json: { csrPem } };
    const given = Buffer.from(body.proof ?? '', 'base64');
    const expected = proof('landfall enrol server v1', secret);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      begun.delete(socket);
      return refusal(401, 'ENROL_PROOF_WRONG');
    }
    const answer = proof('landfall enrol agent v1', faults.wrongProof ? Buffer.alloc(32, 7) : secret);
    return { status: 200, json: { csrPem, proof: answer.toString('base64') } };
  }

  function agentStatus(): object {
    return {
      role: options.role,
      agentId: options.agentId,
      version: '0.0.0-stand-in',
      enrolled: standIn.certificate !== null,
    };
  }

  await new Promise<void>((resolve) => listener.listen(0, options.address ?? '127.0.0.1', resolve));
  const { address, port } = listener.address() as AddressInfo;
  const standIn: AgentStandIn = {
    endpoint: { address, port },
    faults,
    spkiDer,
    spkiSha256: fingerprintOf(spkiDer),
    keys: own.keys,
    certificate: null,
    connections: () => connections,
    dropConnections: () => sockets.forEach((socket) => socket.destroy()),
    close: () =>
      new Promise((resolve) => {
        listener.close(() => resolve());
        sockets.forEach((socket) => socket.destroy());
      }),
  };
  return standIn;
}

/** A problem document as an agent writes it. */
export function refusal(status: number, code: string, retry = 'permanent'): { status: number; json: unknown } {
  const json = {
    type: `urn:landfall:problem:${code}`,
    title: code,
    status,
    detail: `detail of ${code}`,
    code,
    remedy: 'Remedy.',
    retry,
  };
  return { status, json };
}
