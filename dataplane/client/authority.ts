// The installation's own authority: its CA, its receipt key and its encryption key, kept in $LANDFALL_HOME/authority.
// It signs; it opens no connection and never lets a private key of the CA or of receipts out of this folder.
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  randomBytes,
  randomUUID,
  createHmac,
} from 'node:crypto';
import { join } from 'node:path';
import { MigrationError, limits } from '../../core/index.ts';
import type { ReceiptSigner } from './receipt.ts';
import { ed25519Signer } from './receipt.ts';
import { ensurePrivateDirectory, readOrCreatePrivateFile, readPrivateFile, replaceFile } from './authority-store.ts';
import { serverSpiffeIdOf, spiffeIdOf } from './identity.ts';
import type { AgentIdentity, AgentRole } from './identity.ts';
import {
  createAuthorityCertificate,
  createKeys,
  fingerprintOf,
  issueCertificate,
  readCertificate,
  readRequest,
} from './x509.ts';
import type { CertificateIssuer, CertificateRequest } from './x509.ts';

const dayMs = 24 * 60 * 60_000;
/** Revocation is by short life: an agent that is not renewed is out after a week. */
const agentValidityMs = limits.certificateDays * dayMs;
const agentRenewalAgeMs = limits.certificateRenewDays * dayMs;
const serverValidityMs = 90 * dayMs;
const serverRenewalAgeMs = 60 * dayMs;
const authorityValidityMs = 20 * 365 * dayMs;

const stateFile = 'authority.json';
const certificateFile = 'authority.pem';
const serverFile = 'api-server.json';

/** A certificate with the key it belongs to. The key is a secret. */
export interface TlsIdentity {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  readonly notAfter: Date;
}

export interface IssuedCertificate {
  readonly certificatePem: string;
  readonly spiffeId: string;
  readonly spkiSha256: string;
  readonly notAfter: Date;
}

export interface Authority {
  readonly installationId: string;
  /** What agents, the command line and hosts are given to trust; public. */
  readonly certificatePem: string;
  /** AES-256 key for what is kept encrypted in the database, such as site passwords. */
  readonly encryptionKey: Buffer;
  readonly receiptSigner: ReceiptSigner;
  /** Certificate for the API. May be called at every start: a kept one is used while it is young and covers the names. */
  ensureServerCertificate(extraHosts?: readonly string[]): Promise<TlsIdentity>;
  /** Certificate under which agents are spoken to. Made anew for each process, renewed before it ends. */
  managementIdentity(): Promise<TlsIdentity>;
  /** Signs an agent's or a source's request; every name in the request itself is ignored. CERTIFICATE_REQUEST_INVALID if it is broken. */
  signRequest(csrPem: string, identity: AgentIdentity): Promise<IssuedCertificate>;
  /** The one-time enrolment secret (base64) of an agent: the same for the same arguments, so that a step may run twice. */
  enrolSecretFor(role: AgentRole, id: string, attempt: number): string;
}

interface AuthorityState {
  readonly formatVersion: 1;
  readonly installationId: string;
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  readonly receiptPrivateKeyPem: string;
  readonly encryptionKey: string;
}

/** What the functions below share: one opened authority. */
interface Opened {
  readonly directory: string;
  readonly state: AuthorityState;
  readonly issuer: CertificateIssuer;
  readonly clock: () => Date;
}

/** Opens the authority in `directory`, making it first where there is none. Safe when several processes do so at once. */
export async function openAuthority(directory: string, clock: () => Date = () => new Date()): Promise<Authority> {
  await ensurePrivateDirectory(directory);
  const made = async (): Promise<string> => JSON.stringify(await createState(clock()));
  const state = parseState(await readOrCreatePrivateFile(join(directory, stateFile), made), directory);
  await replaceFile(join(directory, certificateFile), state.certificatePem, 0o644);

  const { installationId, certificatePem, privateKeyPem } = state;
  const opened: Opened = { directory, state, issuer: { certificatePem, privateKeyPem }, clock };
  const encryptionKey = Buffer.from(state.encryptionKey, 'base64');
  const enrolKey = Buffer.from(hkdfSync('sha256', encryptionKey, installationId, 'landfall enrolment secrets v1', 32));
  return {
    installationId,
    certificatePem,
    encryptionKey,
    receiptSigner: ed25519Signer(createPrivateKey(state.receiptPrivateKeyPem)),
    ensureServerCertificate: (extraHosts = []) => ensureServerCertificate(opened, extraHosts),
    managementIdentity: keepManagementIdentity(opened),
    signRequest: (csrPem, identity) => signRequest(opened, csrPem, identity),
    enrolSecretFor: (role, id, attempt) =>
      createHmac('sha256', enrolKey)
        .update(JSON.stringify([role, id, attempt]))
        .digest('base64'),
  };
}

async function ensureServerCertificate(opened: Opened, extraHosts: readonly string[]): Promise<TlsIdentity> {
  const hosts = [...new Set(['localhost', '127.0.0.1', '::1', ...extraHosts])];
  const kept = await readServerCertificate(opened.directory);
  if (kept !== null && serves(kept, hosts, opened.clock())) return kept;
  const made = await issueOwn(opened, { uses: ['server'], hosts, validityMs: serverValidityMs });
  await replaceFile(join(opened.directory, serverFile), JSON.stringify(made));
  return made;
}

/** One identity for all callers of a process, until it is old enough to be renewed. */
function keepManagementIdentity(opened: Opened): () => Promise<TlsIdentity> {
  let kept: { identity: Promise<TlsIdentity>; issuedAtMs: number } | undefined;
  return () => {
    const nowMs = opened.clock().getTime();
    if (kept === undefined || nowMs - kept.issuedAtMs >= agentRenewalAgeMs) {
      const uris = [serverSpiffeIdOf(opened.state.installationId)];
      const identity = issueOwn(opened, { uses: ['client'], uris, validityMs: agentValidityMs });
      identity.catch(() => (kept = undefined));
      kept = { identity, issuedAtMs: nowMs };
    }
    return kept.identity;
  };
}

async function signRequest(opened: Opened, csrPem: string, identity: AgentIdentity): Promise<IssuedCertificate> {
  const request = await readRequest(csrPem);
  if (request === null) {
    throw new MigrationError(
      'CERTIFICATE_REQUEST_INVALID',
      `the certificate request of ${identity.role} ${identity.id} is broken or not for a P-256 key`,
    );
  }
  const now = opened.clock();
  const spiffeId = spiffeIdOf(opened.state.installationId, identity);
  const certificatePem = await issueCertificate(opened.issuer, {
    publicKey: request.publicKey,
    commonName: `landfall ${identity.role}`,
    validityMs: agentValidityMs,
    now,
    uses: [identity.role === 'source' ? 'client' : 'server'],
    uris: [spiffeId],
  });
  const notAfter = new Date(now.getTime() + agentValidityMs);
  return { certificatePem, spiffeId, spkiSha256: fingerprintOf(request.spkiDer), notAfter };
}

/** A certificate with a fresh key for this process itself. */
async function issueOwn(
  opened: Opened,
  wish: Pick<CertificateRequest, 'uses' | 'uris' | 'hosts' | 'validityMs'>,
): Promise<TlsIdentity> {
  const now = opened.clock();
  const { keys, privateKeyPem } = await createKeys();
  const certificatePem = await issueCertificate(opened.issuer, {
    ...wish,
    publicKey: keys.publicKey,
    commonName: 'landfall management server',
    now,
  });
  return { certificatePem, privateKeyPem, notAfter: new Date(now.getTime() + wish.validityMs) };
}

/** Whether an agent's certificate that ends at `notAfter` is old enough to be renewed. */
export function needsRenewal(notAfter: Date, now: Date): boolean {
  return notAfter.getTime() - now.getTime() <= agentValidityMs - agentRenewalAgeMs;
}

/** The API's certificate as it is now, for whoever must pin it (vSphere hosts that fetch the package); null before the first start. */
export async function readServerCertificate(directory: string): Promise<TlsIdentity | null> {
  const text = await readPrivateFile(join(directory, serverFile));
  if (text === null) return null;
  const kept = JSON.parse(text) as { certificatePem: string; privateKeyPem: string; notAfter: string };
  return { ...kept, notAfter: new Date(kept.notAfter) };
}

function serves(kept: TlsIdentity, hosts: readonly string[], now: Date): boolean {
  const remainingMs = kept.notAfter.getTime() - now.getTime();
  if (remainingMs <= serverValidityMs - serverRenewalAgeMs) return false;
  const covered = new Set(readCertificate(kept.certificatePem)?.hosts ?? []);
  return hosts.every((host) => covered.has(host));
}

async function createState(now: Date): Promise<AuthorityState> {
  const installationId = randomUUID();
  const { keys, privateKeyPem } = await createKeys();
  return {
    formatVersion: 1,
    installationId,
    certificatePem: await createAuthorityCertificate(
      keys,
      `Landfall authority ${installationId}`,
      authorityValidityMs,
      now,
    ),
    privateKeyPem,
    receiptPrivateKeyPem: generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    encryptionKey: randomBytes(32).toString('base64'),
  };
}

function parseState(text: string, directory: string): AuthorityState {
  try {
    const state = JSON.parse(text) as AuthorityState;
    if (state.formatVersion !== 1 || readCertificate(state.certificatePem) === null) throw new Error('unknown format');
    createPublicKey(createPrivateKey(state.privateKeyPem));
    return state;
  } catch (error) {
    const path = join(directory, stateFile);
    throw new MigrationError('AUTHORITY_UNREADABLE', `${path} is damaged or of another version`, { cause: error });
  }
}
