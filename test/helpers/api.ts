// A real API over HTTPS on a database of its own, with the vCenters and the workflow engine replaced by recorders.
// For integration tests of what the API itself promises; what it does against vCenters is shown end to end.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { Agent, fetch } from 'undici';
import {
  createApp,
  createLogger,
  createRouteTable,
  listen,
  openEventHub,
  type AppOptions,
  type Services,
  type SiteConnector,
  type WorkflowGateway,
} from '../../api/index.ts';
import { scope, type Problem, type Scope } from '../../contracts/rest.ts';
import { openAuthority } from '../../dataplane/client/index.ts';
import { createToken, holdPresence, openDatabase, sealingKey, type Database } from '../../db/index.ts';
import { openPayloadKeys, payloadKeysFile, readPayloadKeys, rotatePayloadKeys } from '../../temporal/payload-keys.ts';
import type { VcenterLogin, VsphereSession } from '../../vsphere/index.ts';
import { createTestDatabase } from '../../tools/test-postgres.ts';

export interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; the caller says what it expects. */
  readonly body: Record<string, unknown> & Problem;
}

export interface TestApi {
  readonly url: string;
  readonly token: string;
  /** File with the certificate that the API's was signed by. */
  readonly authorityFile: string;
  readonly database: Database;
  readonly services: Services;
  readonly workflows: RecordedWorkflows;
  readonly vcenter: StandInVcenter;
  /** Everything that was logged so far. */
  readonly logText: () => string;
  readonly tokenWith: (scopes: readonly Scope[], expiresAt?: Date) => Promise<string>;
  readonly call: (method: string, path: string, options?: CallOptions) => Promise<Answered>;
  /** The raw response, for streams. */
  readonly open: (path: string, headers: Record<string, string>, signal: AbortSignal) => ReturnType<typeof fetch>;
  readonly close: () => Promise<void>;
}

interface CallOptions {
  readonly body?: unknown;
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Notes what was asked of it; `fail` is thrown by every call while it is set. */
export interface RecordedWorkflows extends WorkflowGateway {
  readonly calls: string[];
  /** Under which claim each command was given. */
  readonly claims: (string | null)[];
  fail: Error | undefined;
}

/** One vCenter as registration sees it. */
export interface StandInVcenter {
  readonly logins: VcenterLogin[];
  clock: () => Date;
  missingPrivileges: readonly string[];
  refuse: Error | undefined;
}

export async function startTestApi(options: AppOptions = {}): Promise<TestApi> {
  const folder = mkdtempSync(join(tmpdir(), 'landfall-api-'));
  const testDatabase = await createTestDatabase();
  const database = openDatabase(testDatabase.url);
  const authority = await openAuthority(join(folder, 'authority'));
  await openPayloadKeys(payloadKeysFile(folder));
  const lines: string[] = [];
  const log = createLogger(new Writable({ write: (chunk, _encoding, done) => (lines.push(String(chunk)), done()) }));
  const vcenter: StandInVcenter = { logins: [], clock: () => new Date(), missingPrivileges: [], refuse: undefined };
  const workflows = recordedWorkflows();
  const services: Services = {
    database,
    sealingKey: sealingKey(authority.encryptionKey),
    presence: await holdPresence(testDatabase.url),
    sites: standInSites(vcenter),
    workflows,
    payloadKeys: {
      list: () => readPayloadKeys(payloadKeysFile(folder)),
      rotate: () => rotatePayloadKeys(payloadKeysFile(folder)),
    },
    events: await openEventHub(database, testDatabase.url, log),
    requestDigestKey: authority.encryptionKey,
    hostPackageFile: join(folder, 'landfall-host.vib'),
    partsFile: join(folder, 'parts.json'),
    identity: {
      installationId: authority.installationId,
      authorityPem: authority.certificatePem,
      receiptFingerprint: authority.receiptSigner.fingerprint,
    },
    version: '0.0.0',
    log,
    now: () => new Date(),
  };
  const app = createApp(createRouteTable('0.0.0').routes, services, { checkAnswers: true, ...options });
  const server = await listen(app, await authority.ensureServerCertificate(), '127.0.0.1', 0);
  const url = `https://127.0.0.1:${server.port}`;
  const dispatcher = new Agent({ connect: { ca: authority.certificatePem } });
  const tokenWith = async (scopes: readonly Scope[], expiresAt?: Date): Promise<string> =>
    (await createToken(database.prisma, { name: 'test', scopes, ...(expiresAt === undefined ? {} : { expiresAt }) }))
      .token;
  const token = await tokenWith(scope.options);

  return {
    url,
    token,
    authorityFile: join(folder, 'authority', 'authority.pem'),
    database,
    services,
    workflows,
    vcenter,
    logText: () => lines.join(''),
    tokenWith,
    call: async (method, path, { body, token: own = token, headers = {} } = {}) => {
      const answer = await fetch(url + path, {
        method,
        dispatcher,
        headers: {
          ...(own === null ? {} : { authorization: `Bearer ${own}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const text = await answer.text();
      const isJson = answer.headers.get('content-type')?.includes('json') === true;
      const parsed = (isJson ? JSON.parse(text) : {}) as Answered['body'];
      return { status: answer.status, headers: answer.headers as unknown as Headers, text, body: parsed };
    },
    open: (path, headers, signal) =>
      fetch(url + path, { dispatcher, signal, headers: { authorization: `Bearer ${token}`, ...headers } }),
    close: async () => {
      await dispatcher.destroy();
      await server.close();
      await services.events.close();
      await services.presence.close();
      await database.close();
      await testDatabase.drop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function recordedWorkflows(): RecordedWorkflows {
  const calls: string[] = [];
  const claims: (string | null)[] = [];
  const note = async (text: string): Promise<void> => {
    if (recorded.fail !== undefined) throw recorded.fail;
    calls.push(text);
  };
  const recorded: RecordedWorkflows = {
    calls,
    claims,
    fail: undefined,
    startMigration: (id) => note(`start ${id}`),
    startClusterSetup: ({ id }) => note(`configure ${id}`),
    ensureServices: () => note('admission'),
    changeSettings: (id, dials) => note(`settings ${id} ${JSON.stringify(dials)}`),
    command: (id, action, { claimId }) => {
      claims.push(claimId);
      return note(`${action} ${id}`);
    },
    retry: (id, change, { claimId }) => {
      claims.push(claimId);
      return note(`retry ${id} ${JSON.stringify(change)}`);
    },
    decideMember: (id, member, decision) => note(`${decision} ${id} ${member}`),
    changeQueue: (id, change) => note(`queue ${id} ${JSON.stringify(change)}`),
    changeCapacities: (capacities) => note(`capacities ${JSON.stringify(capacities)}`),
    changePriorities: (priorities) => note(`priorities ${JSON.stringify(priorities)}`),
    siteResumed: (id) => note(`site-resumed ${id}`),
    ping: () => note('ping'),
    close: async () => undefined,
  };
  return recorded;
}

function standInSites(vcenter: StandInVcenter): SiteConnector {
  const session = {
    address: 'vcenter.example',
    about: {
      instanceUuid: 'a3b4c5d6-0000-4000-8000-000000000001',
      apiVersion: '8.0.3.0',
      fullName: 'A stand-in 8.0.3',
    },
    content: { rootFolder: { type: 'Folder', value: 'group-d1' } },
    manager: (name: string) => ({ type: name, value: name }),
    call: async (_on: unknown, method: string) => {
      if (method === 'CurrentTime') return vcenter.clock();
      if (method === 'HasPrivilegeOnEntities') {
        return [{ privAvailability: vcenter.missingPrivileges.map((privId) => ({ privId, isGranted: false })) }];
      }
      return undefined;
    },
  } as unknown as VsphereSession;
  const refuseOr = async <Result>(work: () => Promise<Result>): Promise<Result> => {
    if (vcenter.refuse !== undefined) throw vcenter.refuse;
    return work();
  };
  return {
    probe: () =>
      refuseOr(async () => ({
        thumbprintSha256: Array<string>(32).fill('5A').join(':'),
        instanceUuid: session.about.instanceUuid ?? '',
        apiVersion: session.about.apiVersion,
        fullName: session.about.fullName,
      })),
    withLogin: (login, work) =>
      refuseOr(() => {
        vcenter.logins.push(login);
        return work(session);
      }),
    withSite: (_siteId, work) => refuseOr(() => work(session)),
    forget: async () => undefined,
    close: async () => undefined,
  };
}
