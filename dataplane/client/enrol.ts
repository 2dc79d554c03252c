// Enrolment: an agent and the management server prove to each other, bound to the TLS connection between them, that they know
// the same one-time secret; then the agent's own key gets a certificate of ours. Renewal does the same with the agent's key as
// the proof. Both may run twice and be cut off anywhere. Nothing is recorded here: the caller keeps `spkiSha256`.
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { Client } from 'undici';
import { MigrationError, hasCode } from '../../core/index.ts';
import { connectAgent, openHttpOver, requestJson } from './agent-connection.ts';
import type { Peer } from './agent-connection.ts';
import { hasAgentCode } from './agent-errors.ts';
import type { Authority } from './authority.ts';
import { assertEnrolledAs, foreignAgent } from './control-client.ts';
import type { AgentStatus, EnrolBegun } from './control-types.ts';
import { nameOf } from './endpoint.ts';
import type { AgentEndpoint } from './endpoint.ts';
import { spiffeIdOf } from './identity.ts';
import type { AgentRole } from './identity.ts';
import { fingerprintOf, readRequest } from './x509.ts';

const exporterLabel = 'EXPORTER-landfall-enrol';
const exporterLength = 32;
const proofLabels = { server: 'landfall enrol server v1', agent: 'landfall enrol agent v1' } as const;
const secretLengthMin = 16;
const defaultTimeoutMs = 10_000;

interface AgentCallOptions {
  readonly authority: Authority;
  readonly endpoint: AgentEndpoint;
  readonly role: AgentRole;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface EnrolOptions extends AgentCallOptions {
  /** Receiver: the VM migration it serves. Host: its agent id; left out at the first enrolment, then it is what the agent says. */
  readonly id?: string;
  /** The one-time secret, base64, from Authority.enrolSecretFor. */
  readonly secret: string;
}

export interface RenewOptions extends AgentCallOptions {
  readonly id: string;
  /** The key the agent was enrolled with: its certificate may have ended, its key must be the same. */
  readonly spkiSha256: string;
}

export interface Enrolment {
  /** `already-enrolled`: an earlier try had got through; nothing was changed now. */
  readonly outcome: 'enrolled' | 'already-enrolled' | 'renewed';
  readonly agentId: string;
  readonly version: string;
  readonly spiffeId: string;
  /** Fingerprint of the agent's public key; keep it for renewals. */
  readonly spkiSha256: string;
  readonly notAfter: Date;
}

/**
 * Enrols an agent, or finds that it is enrolled already under the expected name. May be called twice, also by two at once: the
 * one who comes second gets `already-enrolled`, at the latest on the next try. ENROLMENT_REFUSED when either side's proof is
 * wrong, AGENT_FOREIGN when it belongs to another installation, AGENT_UNREACHABLE when it does not answer.
 */
export async function enrolAgent(options: EnrolOptions): Promise<Enrolment> {
  const secret = Buffer.from(options.secret, 'base64');
  if (secret.length < secretLengthMin) throw new TypeError('an enrolment secret has at least 16 bytes');
  return withConnection(options, async (connection) => {
    if (connection.peer.trust !== 'foreign') return enrolOver(connection, options, secret);
    // An agent of another installation takes us only if it was given our secret, by somebody who may set options of its host.
    return enrolOver(connection, options, secret).catch((error: unknown) => {
      const isRefused = hasCode(error, 'AGENT_UNREACHABLE') || hasAgentCode(error, 'ENROL_SECRET_MISSING');
      throw isRefused ? foreignAgent(options.endpoint) : error;
    });
  });
}

async function enrolOver(
  { socket, peer, http }: Connection,
  options: EnrolOptions,
  secret: Buffer,
): Promise<Enrolment> {
  const status = await getStatus(http, options);
  const { installationId } = options.authority;
  const spiffeId = spiffeIdOf(installationId, { role: options.role, id: options.id ?? status.agentId });
  if (peer.trust === 'trusted' || peer.trust === 'expired') {
    assertEnrolledAs(peer, spiffeId, options.endpoint);
    return describe('already-enrolled', status, spiffeId, peer.certificate.notAfter, peer);
  }
  const exporter = socket.exportKeyingMaterial(exporterLength, exporterLabel, Buffer.alloc(0));
  const proofOf = (role: keyof typeof proofLabels): Buffer =>
    enrolProof(secret, role, exporter, peer.certificate.spkiDer);
  const body = { proof: proofOf('server').toString('base64') };
  const begun = await post<EnrolBegun>(http, options, '/v1/enrol/begin', body);
  if (!isSame(Buffer.from(begun.proof ?? '', 'base64'), proofOf('agent'))) {
    throw new MigrationError('ENROLMENT_REFUSED', `${nameOf(options.endpoint)} does not know the enrolment secret`);
  }
  return complete('enrolled', options, http, peer, status, begun.csrPem);
}

/** Gives an enrolled agent a new certificate for its old key; also one that was cut off until its certificate ended. */
export async function renewAgent(options: RenewOptions): Promise<Enrolment> {
  const spiffeId = spiffeIdOf(options.authority.installationId, options);
  return withConnection(options, async ({ peer, http }) => {
    const inForce: Peer = peer.trust === 'expired' ? { ...peer, trust: 'trusted' } : peer;
    assertEnrolledAs(inForce, spiffeId, options.endpoint);
    if (fingerprintOf(peer.certificate.spkiDer) !== options.spkiSha256) {
      throw new MigrationError(
        'ENROLMENT_REFUSED',
        `${nameOf(options.endpoint)} holds another key than the one it was enrolled with`,
      );
    }
    const status = await getStatus(http, options);
    const begun = await post<EnrolBegun>(http, options, '/v1/enrol/begin', {});
    return complete('renewed', { ...options, id: options.id }, http, peer, status, begun.csrPem);
  });
}

/** HMAC-SHA256 over role, connection and key: worth nothing on another connection, to another role or with another key. */
export function enrolProof(
  secret: Buffer,
  role: keyof typeof proofLabels,
  exporter: Buffer,
  agentSpkiDer: Buffer,
): Buffer {
  return createHmac('sha256', secret).update(proofLabels[role]).update(exporter).update(agentSpkiDer).digest();
}

interface Connection {
  readonly socket: TLSSocket;
  readonly peer: Peer;
  readonly http: Client;
}

/** Everything of an enrolment goes over one connection: a second one would have another exporter value and perhaps another peer. */
async function withConnection<T>(options: AgentCallOptions, run: (connection: Connection) => Promise<T>): Promise<T> {
  const { socket, peer } = await connectAgent({
    endpoint: options.endpoint,
    authorityPem: options.authority.certificatePem,
    identity: await options.authority.managementIdentity(),
    timeoutMs: options.timeoutMs ?? defaultTimeoutMs,
    signal: options.signal,
  });
  const http = openHttpOver(options.endpoint, socket);
  try {
    return await run({ socket, peer, http });
  } finally {
    await http.destroy();
    socket.destroy();
  }
}

async function complete(
  outcome: 'enrolled' | 'renewed',
  options: AgentCallOptions & { readonly id?: string },
  http: Client,
  peer: Peer,
  status: AgentStatus,
  csrPem: string,
): Promise<Enrolment> {
  const request = await readRequest(csrPem);
  if (request === null || !isSame(request.spkiDer, peer.certificate.spkiDer)) {
    throw new MigrationError(
      'CERTIFICATE_REQUEST_INVALID',
      `${nameOf(options.endpoint)} asks for a certificate for another key than its own`,
    );
  }
  const id = options.id ?? status.agentId;
  const issued = await options.authority.signRequest(csrPem, { role: options.role, id });
  const completed = await post<AgentStatus>(http, options, '/v1/enrol/complete', {
    certificatePem: issued.certificatePem,
    authorityPem: options.authority.certificatePem,
  });
  return describe(outcome, completed, issued.spiffeId, issued.notAfter, peer);
}

async function getStatus(http: Client, options: AgentCallOptions): Promise<AgentStatus> {
  const status = (await requestJson(http, options.endpoint, {
    ...limitsOf(options),
    method: 'GET',
    path: '/v1/agent',
  })) as AgentStatus;
  if (status.role !== options.role) {
    throw new MigrationError('ENROLMENT_REFUSED', `${nameOf(options.endpoint)} is no ${options.role} agent`);
  }
  return status;
}

async function post<T>(http: Client, options: AgentCallOptions, path: string, body: unknown): Promise<T> {
  return (await requestJson(http, options.endpoint, { ...limitsOf(options), method: 'POST', path, body })) as T;
}

function limitsOf(options: AgentCallOptions): { timeoutMs: number; signal: AbortSignal | undefined } {
  return { timeoutMs: options.timeoutMs ?? defaultTimeoutMs, signal: options.signal };
}

function describe(
  outcome: Enrolment['outcome'],
  status: AgentStatus,
  spiffeId: string,
  notAfter: Date,
  peer: Peer,
): Enrolment {
  const { agentId, version } = status;
  return { outcome, agentId, version, spiffeId, notAfter, spkiSha256: fingerprintOf(peer.certificate.spkiDer) };
}

function isSame(left: Buffer, right: Buffer): boolean {
  return left.length === right.length && timingSafeEqual(left, right);
}
