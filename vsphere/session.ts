/**
 * A logged-in connection to one vCenter: typed calls, a login that renews itself, one watcher for everything that
 * is followed. It must not know what the calls are for, nor keep anything that outlives `close`.
 */
import { MigrationError } from '../core/index.ts';
import type { Caller, CallOptions, ManagerName } from './call.ts';
import { negotiate } from './endpoint.ts';
import { isFault } from './faults.ts';
import { methodSchema, type MoRef } from './schema.ts';
import { exchange } from './soap.ts';
import { openTransport, type Transport } from './transport.ts';
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
  try {
    const { content, apiVersion } = await negotiate(transport, signal);
    const session = makeSession(transport, login, content, apiVersion);
    await session.logIn();
    return session;
  } catch (error) {
    await transport.close();
    throw error;
  }
}

function makeSession(transport: Transport, login: VcenterLogin, content: ServiceContent, apiVersion: string) {
  let cookie = noCookie;
  let loginInFlight: Promise<void> | undefined;
  let policyContent: Promise<PbmServiceInstanceContent> | undefined;
  let closed = false;

  const send = (method: string, on: MoRef, args: object, options: CallOptions, usedCookie = cookie) =>
    exchange(transport, {
      method,
      on,
      args,
      apiVersion,
      cookie: usedCookie,
      timeoutMs: options.timeoutMs ?? callTimeoutMs,
      signal: options.signal,
    });

  /** The old cookie stays until there is a new one: calls that fail meanwhile see that they must wait for it. */
  const logInOnce = async (): Promise<void> => {
    const { user: userName, password } = login;
    const sessionManager = session.manager('sessionManager');
    cookie = (await send('Login', sessionManager, { userName, password }, {}, noCookie)).cookie ?? noCookie;
  };

  const session = {
    address: login.address,
    about: content.about,
    content,
    apiVersion,
    transport,
    watcher: undefined as unknown as Watcher,
    cookie: () => cookie,

    /** However many calls find the session expired, one login answers them all. */
    logIn(): Promise<void> {
      loginInFlight ??= logInOnce().finally(() => (loginInFlight = undefined));
      return loginInFlight;
    },

    async call<M extends keyof Methods>(
      on: MoRef<Methods[M]['on']>,
      method: M,
      args: Methods[M]['args'],
      options: CallOptions = {},
    ): Promise<Methods[M]['result']> {
      const usedCookie = cookie;
      try {
        return (await send(method, on, args, options)).result as Methods[M]['result'];
      } catch (error) {
        if (closed || !isExpired(error, method)) throw error;
      }
      if (cookie === usedCookie) await session.logIn();
      return (await send(method, on, args, options)).result as Methods[M]['result'];
    },

    manager<N extends ManagerName>(name: N): NonNullable<ServiceContent[N]> {
      const found = content[name];
      if (!found) throw new MigrationError('VSPHERE_NOT_VCENTER', `${login.address} has no ${name}`);
      return found;
    },

    policyContent(): Promise<PbmServiceInstanceContent> {
      policyContent ??= session
        .call({ type: 'PbmServiceInstance', value: 'ServiceInstance' }, 'PbmRetrieveServiceContent', {})
        .catch((error: unknown) => {
          policyContent = undefined;
          throw error;
        });
      return policyContent;
    },

    async close(): Promise<void> {
      if (closed) return;
      closed = true;
      await session.watcher.stop();
      try {
        if (cookie !== noCookie)
          await send('Logout', session.manager('sessionManager'), {}, { timeoutMs: logoutTimeoutMs });
      } catch {
        // A session that nobody ends expires by itself.
      }
      await transport.close();
    },
  };
  session.watcher = createWatcher(session);
  return session;
}

/** The policy service reports an expired session as a security error instead of NotAuthenticated. */
function isExpired(error: unknown, method: string): boolean {
  if (isFault(error, 'NotAuthenticated')) return true;
  return methodSchema(method).namespace === 'pbm' && isFault(error, 'SecurityError');
}
