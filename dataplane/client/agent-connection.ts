// TLS connections to agents and JSON requests over them: who answers is found out here, whether that is good enough is
// the caller's decision (control-client.ts: an enrolled agent of the expected name; enrol.ts: the holder of a secret).
import { X509Certificate } from 'node:crypto';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { Client } from 'undici';
import { MigrationError } from '../../core/index.ts';
import type { TlsIdentity } from './authority.ts';
import { connectionFailure, problemError } from './agent-errors.ts';
import { hostOf, nameOf } from './endpoint.ts';
import type { AgentEndpoint } from './endpoint.ts';
import { readCertificate } from './x509.ts';
import type { CertificateFacts } from './x509.ts';

/**
 * What the certificate of the other side is worth: `trusted` chains to our authority and is in force, `expired` was signed by
 * it but is not in force, `self-signed` is an agent that nobody has enrolled yet, `foreign` is anything else.
 */
export type PeerTrust = 'trusted' | 'expired' | 'self-signed' | 'foreign';

export interface Peer {
  readonly trust: PeerTrust;
  readonly certificate: CertificateFacts;
  readonly certificatePem: string;
}

export interface ConnectOptions {
  readonly endpoint: AgentEndpoint;
  readonly authorityPem: string;
  readonly identity: TlsIdentity;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface AgentRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

const answerBytesMax = 8 * 1024 * 1024;
/** Below the 5 s after which many servers close an idle connection. */
const keepAliveMs = 4_000;

/** Opens a TLS 1.3 connection and reads who is there. The caller must decide by `peer` before it sends anything. */
export async function connectAgent(options: ConnectOptions): Promise<{ socket: TLSSocket; peer: Peer }> {
  options.signal?.throwIfAborted();
  const socket = connect({
    host: options.endpoint.address,
    port: options.endpoint.port,
    ca: [options.authorityPem],
    cert: options.identity.certificatePem,
    key: options.identity.privateKeyPem,
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['http/1.1'],
    // Agents are known by the URI name in their certificate, which the caller checks; before enrolment there is no chain yet.
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  });
  const abort = (): void => void socket.destroy(options.signal?.reason as Error);
  options.signal?.addEventListener('abort', abort, { once: true });
  const timer = setTimeout(() => {
    socket.destroy(new MigrationError('AGENT_UNREACHABLE', `${nameOf(options.endpoint)} did not answer in time`));
  }, options.timeoutMs);
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
      socket.once('close', () =>
        reject(new MigrationError('AGENT_UNREACHABLE', `${nameOf(options.endpoint)} closed the connection`)),
      );
    });
    return { socket, peer: readPeer(socket, options) };
  } catch (error) {
    socket.destroy();
    options.signal?.throwIfAborted();
    throw connectionFailure(error, options.endpoint);
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', abort);
  }
}

/** An HTTP client that opens its connections with `open`, one at a time. Longer answers than `answerBytes` are refused. */
export function openHttp(
  endpoint: AgentEndpoint,
  open: () => Promise<TLSSocket>,
  answerBytes = answerBytesMax,
): Client {
  return new Client(`https://${hostOf(endpoint)}`, {
    connect: (_options, callback) => {
      open().then(
        (socket) => callback(null, socket),
        (error: unknown) => callback(error as Error, null),
      );
    },
    pipelining: 1,
    keepAliveTimeout: keepAliveMs,
    keepAliveMaxTimeout: keepAliveMs,
    maxResponseSize: answerBytes,
  });
}

/** An HTTP client over this one connection; when it is gone, calls fail instead of opening another. */
export function openHttpOver(endpoint: AgentEndpoint, socket: TLSSocket): Client {
  let isUsed = false;
  return openHttp(endpoint, async () => {
    if (isUsed) throw new MigrationError('AGENT_UNREACHABLE', `${nameOf(endpoint)} closed the connection`);
    isUsed = true;
    return socket;
  });
}

/** Sends one request. A refusal becomes the MigrationError of its problem document; `undefined` is an answer without content. */
export async function requestJson(http: Client, endpoint: AgentEndpoint, request: AgentRequest): Promise<unknown> {
  const timeout = AbortSignal.timeout(request.timeoutMs);
  const signal = request.signal === undefined ? timeout : AbortSignal.any([timeout, request.signal]);
  let statusCode: number;
  let text: string;
  try {
    const answer = await http.request({
      method: request.method,
      path: request.path,
      signal,
      headers: {
        accept: 'application/json',
        ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: request.body === undefined ? null : JSON.stringify(request.body),
    });
    statusCode = answer.statusCode;
    text = await answer.body.text();
  } catch (error) {
    request.signal?.throwIfAborted();
    throw connectionFailure(error, endpoint);
  }
  const json = parseJson(text);
  if (statusCode < 200 || statusCode > 299) throw problemError(json, statusCode, endpoint);
  if (statusCode === 204) return undefined;
  if (typeof json !== 'object' || json === null) {
    throw new MigrationError(
      'AGENT_ANSWER_INVALID',
      `${nameOf(endpoint)} answered ${request.method} ${request.path} with no JSON`,
    );
  }
  return json;
}

/**
 * Gives each JSON document of an answer that has one a line, until it ends. Silence for `silenceMs`, a break and a line that is too
 * long or no JSON are errors. An unfinished last line is not given.
 */
export async function requestLines(
  http: Client,
  endpoint: AgentEndpoint,
  request: { readonly path: string; readonly silenceMs: number; readonly signal?: AbortSignal | undefined },
  give: (document: unknown) => void,
): Promise<void> {
  try {
    const answer = await http.request({
      method: 'GET',
      path: request.path,
      signal: request.signal ?? null,
      headersTimeout: request.silenceMs,
      bodyTimeout: request.silenceMs,
    });
    if (answer.statusCode !== 200) throw problemError(parseJson(await answer.body.text()), answer.statusCode, endpoint);
    let rest = '';
    for await (const piece of answer.body.setEncoding('utf8') as AsyncIterable<string>) {
      const lines = (rest + piece).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) give(parseLine(line, endpoint));
      if (rest.length > answerBytesMax) throw notUnderstood(endpoint);
    }
  } catch (error) {
    request.signal?.throwIfAborted();
    throw connectionFailure(error, endpoint);
  }
}

function parseLine(line: string, endpoint: AgentEndpoint): object {
  const document = parseJson(line);
  if (typeof document !== 'object' || document === null) throw notUnderstood(endpoint);
  return document;
}

function notUnderstood(endpoint: AgentEndpoint): MigrationError {
  return new MigrationError('AGENT_ANSWER_INVALID', `${nameOf(endpoint)} sent a line that is no JSON`);
}

function readPeer(socket: TLSSocket, options: ConnectOptions): Peer {
  const certificate = socket.getPeerX509Certificate();
  const facts = certificate === undefined ? null : readCertificate(certificate.raw);
  if (certificate === undefined || facts === null) {
    throw new MigrationError(
      'AGENT_ANSWER_INVALID',
      `${nameOf(options.endpoint)} shows no certificate that can be read`,
    );
  }
  return {
    trust: trustOf(socket, certificate, options.authorityPem),
    certificate: facts,
    certificatePem: certificate.toString(),
  };
}

function trustOf(socket: TLSSocket, certificate: X509Certificate, authorityPem: string): PeerTrust {
  if (socket.authorized) return 'trusted';
  const authority = new X509Certificate(authorityPem);
  // The TLS library keeps only its last complaint, so the signature of an expired certificate is checked here again.
  if (certificate.verify(authority.publicKey)) return 'expired';
  return certificate.verify(certificate.publicKey) ? 'self-signed' : 'foreign';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
