// Turns what can go wrong between us and an agent into the product's one error family.
// It decides nothing by message text: only by error codes of Node and by the codes of problem documents.
import { MigrationError } from '../../core/index.ts';
import type { ErrorCode, RetryClass } from '../../core/index.ts';
import type { AgentCode, AgentProblem } from './control-types.ts';
import { nameOf } from './endpoint.ts';
import type { AgentEndpoint } from './endpoint.ts';

/** Codes of the replicator that mean the same in the product's own table. All others become REPLICATOR_REFUSED. */
const sharedCodes: Readonly<Partial<Record<AgentCode, ErrorCode>>> = {
  STALE_GENERATION: 'STALE_GENERATION',
  DISK_SEALED: 'DISK_SEALED',
  DISK_MISSING: 'DISK_MISSING',
  NOT_CLOSED: 'NOT_CLOSED',
  NOT_READY: 'NOT_READY',
  NOT_ENROLLED: 'AGENT_NOT_ENROLLED',
  ENROL_PROOF_WRONG: 'ENROLMENT_REFUSED',
};

const retryClasses: readonly string[] = ['retryable', 'permanent', 'needs-operator'] satisfies RetryClass[];
const textLengthMax = 500;

/** The error of a problem document. What an agent sends is shown as it is, but short and in one line. */
export function problemError(document: unknown, status: number, endpoint: AgentEndpoint): MigrationError {
  const problem = (typeof document === 'object' && document !== null ? document : {}) as Partial<AgentProblem>;
  if (typeof problem.code !== 'string') {
    const retry = status >= 500 ? 'retryable' : 'permanent';
    return new MigrationError(
      'AGENT_ANSWER_INVALID',
      `${nameOf(endpoint)} refused with status ${status} and no reason`,
      { retry },
    );
  }
  return new MigrationError(
    sharedCodes[problem.code] ?? 'REPLICATOR_REFUSED',
    shown(problem.detail) ?? shown(problem.title),
    {
      remedy: shown(problem.remedy),
      retry: retryClasses.includes(String(problem.retry)) ? problem.retry : undefined,
      details: { agentCode: shown(problem.code), address: endpoint.address, port: endpoint.port },
    },
  );
}

/** Whether an error is an agent's refusal with one of these codes of the control API, for instance `UNKNOWN_JOB`. */
export function hasAgentCode(error: unknown, ...codes: readonly AgentCode[]): boolean {
  const texts: readonly string[] = codes;
  return error instanceof MigrationError && texts.includes(String(error.details['agentCode']));
}

/** The error of a connection that failed or broke. */
export function connectionFailure(error: unknown, endpoint: AgentEndpoint): MigrationError {
  if (error instanceof MigrationError) return error;
  const agent = nameOf(endpoint);
  const code = codeOf(error);
  if (code.startsWith('ERR_SSL_') && code.includes('ALERT')) {
    const expired = code.includes('CERTIFICATE_EXPIRED');
    return new MigrationError(
      expired ? 'AGENT_CERTIFICATE_EXPIRED' : 'AGENT_FOREIGN',
      `${agent} refused the certificate of this installation`,
      { cause: error },
    );
  }
  if (code === 'UND_ERR_RES_EXCEEDED_MAX_SIZE') {
    return new MigrationError('AGENT_ANSWER_INVALID', `the answer of ${agent} is too long`, {
      cause: error,
    });
  }
  return new MigrationError('AGENT_UNREACHABLE', `${agent} cannot be reached (${code})`, { cause: error });
}

/** Whether the connection broke rather than the request: a repeatable command may be sent again over a new one. */
export function isBrokenConnection(error: unknown): boolean {
  if (!(error instanceof MigrationError) || error.code !== 'AGENT_UNREACHABLE') return false;
  return ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes(codeOf(error.cause));
}

function codeOf(error: unknown): string {
  if (error instanceof Error && error.name === 'TimeoutError') return 'no answer in time';
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason';
}

function shown(text: unknown): string | undefined {
  if (typeof text !== 'string' || text === '') return undefined;
  // eslint-disable-next-line no-control-regex -- control characters of a peer must not reach a terminal
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, textLengthMax);
}
