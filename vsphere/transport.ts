/**
 * HTTPS to one vCenter, trusted by the SHA-256 thumbprint of its certificate and by nothing else. It must not
 * know SOAP or sessions, and must never send a byte before the thumbprint was compared.
 */
import type { TLSSocket } from 'node:tls';
import { Agent, buildConnector, request, type Dispatcher } from 'undici';
import { hasCode, MigrationError } from '../core/index.ts';

/** Connections per vCenter: one long poll, the rest for calls and file transfers. */
const connectionsMax = 16;
const connectTimeoutMs = 15_000;

export interface Transport {
  readonly address: string;
  /** Thumbprint of the last certificate seen; undefined before the first connection. */
  seenThumbprint(): string | undefined;
  /** One HTTP exchange. Network trouble comes as a MigrationError; any status is an answer. */
  send(options: SendOptions): Promise<Dispatcher.ResponseData>;
  close(): Promise<void>;
}

export interface SendOptions {
  readonly method: 'GET' | 'PUT' | 'POST';
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Dispatcher.DispatchOptions['body'];
  /** Longest time without an answer's head or between two pieces of its body; 0 leaves it to the signal. */
  readonly idleTimeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** `pin` undefined accepts any certificate: only for looking at a thumbprint before anybody logs in. */
export function openTransport(address: string, pin: string | undefined): Transport {
  let seen: string | undefined;
  const expected = pin === undefined ? undefined : normalThumbprint(pin);
  const dial = buildConnector({ rejectUnauthorized: false, timeout: connectTimeoutMs, maxCachedSessions: 0 });
  const agent = new Agent({
    connections: connectionsMax,
    connect: (options, done) => {
      dial(options, (error, socket) => {
        if (error) return done(error, null);
        seen = normalThumbprint((socket as TLSSocket).getPeerCertificate().fingerprint256 ?? '');
        if (expected === undefined || seen === expected) return done(null, socket);
        socket.destroy();
        done(mismatch(address, expected, seen), null);
      });
    },
  });
  return {
    address,
    seenThumbprint: () => seen,
    close: () => agent.destroy(),
    send: async (options) => {
      try {
        return await request(`https://${address}${options.path}`, {
          dispatcher: agent,
          method: options.method,
          headers: { ...options.headers },
          body: options.body ?? null,
          headersTimeout: options.idleTimeoutMs,
          bodyTimeout: options.idleTimeoutMs,
          signal: options.signal ?? null,
        });
      } catch (error) {
        throw networkError(address, error, options.signal);
      }
    },
  };
}

/** Turns what broke while talking to `address` into our error family; an abort stays the caller's own reason. */
export function networkError(address: string, error: unknown, signal?: AbortSignal): unknown {
  if (signal?.aborted) return signal.reason;
  if (hasCode(error, 'VSPHERE_CERTIFICATE_MISMATCH')) return error;
  const code = (error as { code?: unknown } | undefined)?.code;
  const timedOut = typeof code === 'string' && /^UND_ERR_(HEADERS|BODY)_TIMEOUT$/.test(code);
  return new MigrationError(
    timedOut ? 'VSPHERE_TIMEOUT' : 'VSPHERE_UNREACHABLE',
    timedOut ? `${address} did not answer in time` : `${address} cannot be reached${codeSuffix(code)}`,
    { cause: error },
  );
}

/** Whether a connection broke off under a request, as kept ones do when the peer has closed them meanwhile. */
export function isDroppedConnection(error: unknown): boolean {
  if (!hasCode(error, 'VSPHERE_UNREACHABLE')) return false;
  const { code } = (error.cause ?? {}) as { code?: unknown };
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE';
}

/** Upper-case pairs with colons, however it was typed. */
export function normalThumbprint(text: string): string {
  return (
    text
      .replace(/[^0-9a-f]/gi, '')
      .toUpperCase()
      .match(/../g) ?? []
  ).join(':');
}

function mismatch(address: string, expected: string, seen: string): MigrationError {
  return new MigrationError(
    'VSPHERE_CERTIFICATE_MISMATCH',
    `${address} shows the certificate ${seen}, but ${expected} is pinned`,
  );
}

function codeSuffix(code: unknown): string {
  return typeof code === 'string' ? ` (${code})` : '';
}
