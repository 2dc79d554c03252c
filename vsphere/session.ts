/**
 * A logged-in connection to one vCenter: typed calls, a login that renews itself, one watcher for everything that
 * is followed. It must not know what the calls are for, nor keep anything that outlives `close`.
 */
import { MigrationError } from '../core/index.ts';
import type { Caller, CallOptions, ManagerName } from './call.ts';
import { negotiate } from './endpoint.ts';
import { isFault } from './faults.ts';
import { methodSchema, type MoRef } from './schema.ts';
import { keepSecret } from './secrets.ts';
import { exchange } from './soap.ts';
import { isDroppedConnection, openTransport, type Transport } from './transport.ts';
import type { AboutInfo, Methods, PbmServiceInstanceContent, ServiceContent } from './types.gen.ts';
import { createWatcher, type Watcher } from './watcher.ts';

export interface VcenterLogin {
  /** Host name or IP address, with a port if it is not 443. */
  readonly address: string;
  readonly user: string;
  readonly password: string;
  /** SHA-256 thumbprint of the only certificate that is accepted. */
  readonly thumbprintSha256: string;
}

/** Safe for concurrent use. Belongs to one process; others open their own. */
export interface VsphereSession extends Caller {
  readonly about: AboutInfo;
  /** The API version both sides know; newer fields are not sent. */
  readonly apiVersion: string;
  /** Follows properties of objects; tasks and waits use it. */
  readonly watcher: Watcher;
  /** The transport and cookie for datastore files. */
  readonly transport: Transport;
  cookie(): string;
  /** The storage policy service's content, read once per session. */
  policyContent(): Promise<PbmServiceInstanceContent>;
  /** Ends everything that is followed and logs out. May be called twice; never fails. */
  close(): Promise<void>;
}

const callTimeoutMs = 120_000;
const logoutTimeoutMs = 5_000;
/** Servers refuse a login that comes with the cookie of a living session. */
const noCookie = '';

/**
 * Connects, checks the pinned thumbprint, logs in. Each call makes a session of its own.
 * Fails with VSPHERE_UNREACHABLE, VSPHERE_CERTIFICATE_MISMATCH, VSPHERE_NOT_VCENTER or VSPHERE_LOGIN_FAILED.
 */
export async function connect(login: VcenterLogin, signal?: AbortSignal): Promise<VsphereSession> {
  if (!login.thumbprintSha256) throw new MigrationError('VSPHERE_CERTIFICATE_MISMATCH', 'No thumbprint is pinned');
  const transport = openTransport(login.address, login.thumbprintSha256);
  const forgetSecret = keepSecret(login.password);
  try {
    const { content, apiVersion } = await negotiate(transport, signal);
    const session = new LoggedInSession(transport, login, content, apiVersion, forgetSecret);
    await session.logIn(signal);
    return session;
  } catch (error) {
    forgetSecret();
    await transport.close();
    throw error;
  }
}

class LoggedInSession implements VsphereSession {
  readonly address: string;
  readonly about: AboutInfo;
  readonly content: ServiceContent;
  readonly apiVersion: string;
  readonly transport: Transport;
  readonly watcher: Watcher;
  /** Really private: a session that ends up in a log or an error must not show a password. */
  readonly #login: VcenterLogin;
  #cookie = noCookie;
  private loginInFlight: Promise<void> | undefined;
  private policyContentRead: Promise<PbmServiceInstanceContent> | undefined;
  private closed = false;
  private readonly forgetSecret: () => void;

  constructor(
    transport: Transport,
    login: VcenterLogin,
    content: ServiceContent,
    apiVersion: string,
    forgetSecret: () => void,
  ) {
    this.address = login.address;
    this.about = content.about;
    this.content = content;
    this.apiVersion = apiVersion;
    this.transport = transport;
    this.#login = login;
    this.forgetSecret = forgetSecret;
    this.watcher = createWatcher(this);
  }

  cookie(): string {
    return this.#cookie;
  }

  /** However many calls find the session expired, one login answers them all. */
  logIn(signal?: AbortSignal): Promise<void> {
    this.loginInFlight ??= this.logInOnce(signal).finally(() => (this.loginInFlight = undefined));
    return this.loginInFlight;
  }

  async call<M extends keyof Methods>(
    on: MoRef<Methods[M]['on']>,
    method: M,
    args: Methods[M]['args'],
    options: CallOptions = {},
  ): Promise<Methods[M]['result']> {
    const recovered = { login: false, connection: false };
    for (;;) {
      const usedCookie = this.#cookie;
      try {
        return (await this.send(method, on, args, options)).result as Methods[M]['result'];
      } catch (error) {
        if (this.closed) throw error;
        if (isExpired(error, method) && !recovered.login) {
          recovered.login = true;
          if (this.#cookie === usedCookie) await this.logIn();
        } else if (isDroppedConnection(error) && readOnlyCalls.test(method) && !recovered.connection) {
          recovered.connection = true;
        } else {
          throw error;
        }
      }
    }
  }

  manager<N extends ManagerName>(name: N): NonNullable<ServiceContent[N]> {
    const found = this.content[name];
    if (!found) throw new MigrationError('VSPHERE_NOT_VCENTER', `${this.address} has no ${name}`);
    return found;
  }

  policyContent(): Promise<PbmServiceInstanceContent> {
    const service = { type: 'PbmServiceInstance', value: 'ServiceInstance' };
    this.policyContentRead ??= this.call(service, 'PbmRetrieveServiceContent', {}).catch((error: unknown) => {
      this.policyContentRead = undefined;
      throw error;
    });
    return this.policyContentRead;
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    await this.watcher.stop();
    const farewell = { timeoutMs: logoutTimeoutMs };
    // A session that nobody ends expires by itself.
    await this.send('Logout', this.manager('sessionManager'), {}, farewell).catch(() => undefined);
    await this.transport.close();
    this.forgetSecret();
  }

  /** The old cookie stays until there is a new one: calls that fail meanwhile see that they must wait for it. */
  private async logInOnce(signal?: AbortSignal): Promise<void> {
    const { user: userName, password } = this.#login;
    const on = this.manager('sessionManager');
    const answer = await this.send('Login', on, { userName, password }, { signal }, noCookie);
    this.#cookie = answer.cookie ?? noCookie;
  }

  private send(method: string, on: MoRef, args: object, options: CallOptions, cookie = this.#cookie) {
    return exchange(this.transport, {
      method,
      on,
      args,
      apiVersion: this.apiVersion,
      cookie,
      timeoutMs: options.timeoutMs ?? callTimeoutMs,
      signal: options.signal,
    });
  }
}

/** Calls that change nothing worth mentioning, so that a second one does no harm. */
const readOnlyCalls = /^(Pbm)?(Retrieve|Query|Find|Fetch|CurrentTime|HasPrivilege|CreateContainerView)/;

/** The policy service reports an expired session as a security error instead of NotAuthenticated. */
function isExpired(error: unknown, method: string): boolean {
  if (isFault(error, 'NotAuthenticated')) return true;
  return methodSchema(method).namespace === 'pbm' && isFault(error, 'SecurityError');
}
