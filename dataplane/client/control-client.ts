// Client of an enrolled agent's control API: HTTP/JSON over mutual TLS. It checks that the other side is the agent it was
// opened for, by the URI name in a certificate of our authority. It enrols nobody (enrol.ts) and knows no workflow.
import type { TLSSocket } from 'node:tls';
import { MigrationError } from '../../core/index.ts';
import { connectAgent, openHttp, requestJson, requestLines } from './agent-connection.ts';
import type { AgentRequest, Peer } from './agent-connection.ts';
import { isBrokenConnection } from './agent-errors.ts';
import type { Authority } from './authority.ts';
import { hostOf, nameOf } from './endpoint.ts';
import type { AgentEndpoint } from './endpoint.ts';
import type {
  AgentDials,
  AgentStatus,
  AnswerOf,
  AttachedVm,
  BodyOf,
  DiskPair,
  JobCertificate,
  JobSpec,
  JobStatus,
  Operation,
  ReceiverStatus,
} from './control-types.ts';

export interface CallOptions {
  /** Ends the call early; the error is the signal's reason. The agent may have carried the command out all the same. */
  readonly signal?: AbortSignal | undefined;
}

export interface ControlClientOptions {
  readonly authority: Authority;
  readonly endpoint: AgentEndpoint;
  /** The name the agent's certificate must have, from spiffeIdOf. */
  readonly spiffeId: string;
  readonly connectTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
}

/**
 * Every call may be made again. Errors: AGENT_UNREACHABLE (retryable), AGENT_CERTIFICATE_EXPIRED (renew first), AGENT_FOREIGN,
 * ENROLMENT_REFUSED (not the expected agent), or the agent's own refusal: its code where the product has the same one,
 * REPLICATOR_REFUSED otherwise, with `details.agentCode` (see hasAgentCode).
 */
export interface ControlClient {
  getAgent(options?: CallOptions): Promise<AgentStatus>;
  listVms(options?: CallOptions): Promise<AttachedVm[]>;
  ensureJob(jobId: string, spec: JobSpec, options?: CallOptions): Promise<JobStatus>;
  putCertificate(jobId: string, certificate: JobCertificate, options?: CallOptions): Promise<JobStatus>;
  getJob(jobId: string, options?: CallOptions): Promise<JobStatus>;
  /**
   * Gives the job's status at once, every second and at every change, until the agent ends it (the source is started anew: follow
   * again). It has a connection of its own; five seconds of silence are a break.
   */
  followJob(jobId: string, give: (status: JobStatus) => void, options?: CallOptions): Promise<void>;
  /** Answers what is in force now. */
  setDials(jobId: string, generation: number, dials: AgentDials, options?: CallOptions): Promise<AgentDials>;
  pause(jobId: string, generation: number, options?: CallOptions): Promise<JobStatus>;
  resume(jobId: string, generation: number, options?: CallOptions): Promise<JobStatus>;
  /** Begins the hand-over; follow it with getJob until `handover.state` is `roots-equal` or `roots-differ`. */
  freeze(jobId: string, generation: number, token: number, options?: CallOptions): Promise<JobStatus>;
  /** Returns when the destination's ownership is persisted: this may take as long as a flush of its disks. */
  handOver(jobId: string, generation: number, token: number, options?: CallOptions): Promise<JobStatus>;
  unfreeze(jobId: string, generation: number, token: number, options?: CallOptions): Promise<JobStatus>;
  deleteJob(jobId: string, generation: number, options?: CallOptions): Promise<void>;
  getReceiver(options?: CallOptions): Promise<ReceiverStatus>;
  prepareDisks(generation: number, disks: readonly DiskPair[], options?: CallOptions): Promise<ReceiverStatus>;
  /** Closes its connection. Calls under way fail. */
  close(): Promise<void>;
}

const defaultTimeoutMs = 10_000;
const handOverTimeoutMs = 60_000;
/** A status comes every second. */
const silenceMsMax = 5_000;
/** A stream has no last byte. */
const endless = -1;

export function openControlClient(client: ControlClientOptions): ControlClient {
  const { endpoint } = client;
  const http = openHttp(endpoint, () => connectEnrolled(client));

  async function call<O extends Operation>(
    method: AgentRequest['method'],
    path: string,
    body: BodyOf<O>,
    options: CallOptions = {},
    timeoutMs = client.requestTimeoutMs ?? defaultTimeoutMs,
  ): Promise<AnswerOf<O>> {
    const request = { method, path, timeoutMs, signal: options.signal, ...(body === undefined ? {} : { body }) };
    try {
      return (await requestJson(http, endpoint, request)) as AnswerOf<O>;
    } catch (error) {
      // An idle connection may be closed just as it is used. Commands may come twice, so once more over a new one.
      if (!isBrokenConnection(error)) throw error;
      return (await requestJson(http, endpoint, request)) as AnswerOf<O>;
    }
  }

  return {
    getAgent: (options) => call<'agent'>('GET', '/v1/agent', undefined, options),
    listVms: (options) => call<'list_vms'>('GET', '/v1/vms', undefined, options),
    ensureJob: (jobId, spec, options) => call<'put_job'>('PUT', jobPath(jobId), spec, options),
    putCertificate: (jobId, certificate, options) =>
      call<'put_certificate'>('PUT', jobPath(jobId, '/certificate'), certificate, options),
    getJob: (jobId, options) => call<'get_job'>('GET', jobPath(jobId), undefined, options),
    followJob: async (jobId, give, options = {}) => {
      const stream = openHttp(endpoint, () => connectEnrolled(client), endless);
      const request = { path: jobPath(jobId, '/events'), silenceMs: silenceMsMax, signal: options.signal };
      try {
        await requestLines(stream, endpoint, request, (status) => give(status as JobStatus));
      } finally {
        await stream.destroy();
      }
    },
    setDials: async (jobId, generation, dials, options) =>
      (await call<'put_dials'>('PUT', jobPath(jobId, '/dials'), { ...dials, generation }, options)).inForce,
    pause: (jobId, generation, options) => call<'pause'>('POST', jobPath(jobId, '/pause'), { generation }, options),
    resume: (jobId, generation, options) => call<'resume'>('POST', jobPath(jobId, '/resume'), { generation }, options),
    freeze: (jobId, generation, token, options) =>
      call<'freeze'>('POST', jobPath(jobId, '/freeze'), { generation, token }, options),
    handOver: (jobId, generation, token, options) =>
      call<'hand_over'>('POST', jobPath(jobId, '/hand-over'), { generation, token }, options, handOverTimeoutMs),
    unfreeze: (jobId, generation, token, options) =>
      call<'unfreeze'>('POST', jobPath(jobId, '/unfreeze'), { generation, token }, options),
    deleteJob: async (jobId, generation, options) => {
      await call<'delete_job'>('DELETE', `${jobPath(jobId)}?generation=${generation}`, undefined, options);
    },
    getReceiver: (options) => call<'receiver'>('GET', '/v1/receiver', undefined, options),
    prepareDisks: (generation, disks, options) =>
      call<'put_disks'>('PUT', '/v1/receiver/disks', { generation, disks: [...disks] }, options),
    close: () => http.destroy(),
  };
}

async function connectEnrolled(client: ControlClientOptions): Promise<TLSSocket> {
  const { socket, peer } = await connectAgent({
    endpoint: client.endpoint,
    authorityPem: client.authority.certificatePem,
    identity: await client.authority.managementIdentity(),
    timeoutMs: client.connectTimeoutMs ?? defaultTimeoutMs,
  });
  try {
    assertEnrolledAs(peer, client.spiffeId, client.endpoint);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Throws unless the other side holds a certificate of ours, in force, with the expected name. */
export function assertEnrolledAs(peer: Peer, spiffeId: string, endpoint: AgentEndpoint): void {
  switch (peer.trust) {
    case 'trusted':
      break;
    case 'expired':
      throw new MigrationError(
        'AGENT_CERTIFICATE_EXPIRED',
        `the certificate of ${nameOf(endpoint)} is not in force any more`,
      );
    case 'self-signed':
      throw new MigrationError('AGENT_NOT_ENROLLED', `${nameOf(endpoint)} is not enrolled`);
    case 'foreign':
      throw foreignAgent(endpoint);
  }
  if (peer.certificate.uris.length !== 1 || peer.certificate.uris[0] !== spiffeId) {
    throw new MigrationError(
      'ENROLMENT_REFUSED',
      `another agent than the expected one answers at ${hostOf(endpoint)}`,
      {
        details: { expected: spiffeId, found: peer.certificate.uris[0] ?? null },
      },
    );
  }
}

export function foreignAgent(endpoint: AgentEndpoint): MigrationError {
  return new MigrationError('AGENT_FOREIGN', `${nameOf(endpoint)} holds a certificate of another installation`);
}

function jobPath(jobId: string, rest = ''): string {
  return `/v1/jobs/${encodeURIComponent(jobId)}${rest}`;
}
