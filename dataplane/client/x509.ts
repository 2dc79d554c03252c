// The one place that touches the X.509 library: key pairs, certificates, requests. All keys are ECDSA P-256.
// It decides nothing: who gets which certificate, and for how long, is authority.ts's.
import 'reflect-metadata';
import { isIP } from 'node:net';
import { KeyObject, createHash, randomBytes, webcrypto } from 'node:crypto';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  AuthorityKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
  cryptoProvider,
} from '@peculiar/x509';
import type { Extension, JsonGeneralNames, PublicKey } from '@peculiar/x509';

type CryptoKey = webcrypto.CryptoKey;
type CryptoKeyPair = webcrypto.CryptoKeyPair;

cryptoProvider.set(webcrypto);

const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' } as const;

/** Clocks of hosts differ: a certificate is valid this long before it was made. */
const clockSkewMs = 5 * 60_000;

export interface KeyMaterial {
  readonly privateKeyPem: string;
  readonly keys: CryptoKeyPair;
}

export interface CertificateIssuer {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
}

export interface CertificateRequest {
  readonly publicKey: PublicKey | CryptoKey;
  readonly commonName: string;
  readonly validityMs: number;
  readonly now: Date;
  readonly uses: readonly ('client' | 'server')[];
  readonly uris?: readonly string[];
  readonly hosts?: readonly string[];
}

/** A parsed certificate, as little of it as the rest needs. */
export interface CertificateFacts {
  readonly spkiDer: Buffer;
  readonly uris: readonly string[];
  readonly hosts: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
}

export async function createKeys(): Promise<KeyMaterial> {
  const keys = await webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify']);
  const privateKeyPem = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }).toString();
  return { privateKeyPem, keys: keys };
}

export async function createAuthorityCertificate(
  keys: CryptoKeyPair,
  name: string,
  validityMs: number,
  now: Date,
): Promise<string> {
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [name] }],
    notBefore: new Date(now.getTime() - clockSkewMs),
    notAfter: new Date(now.getTime() + validityMs),
    signingAlgorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return certificate.toString('pem');
}

export async function issueCertificate(issuer: CertificateIssuer, request: CertificateRequest): Promise<string> {
  const authority = new X509Certificate(issuer.certificatePem);
  const names: JsonGeneralNames = [
    ...(request.uris ?? []).map((value) => ({ type: 'url' as const, value })),
    ...(request.hosts ?? []).map((value) => ({ type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const), value })),
  ];
  const extensions: Extension[] = [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension(
      request.uses.map((use) => (use === 'client' ? ExtendedKeyUsage.clientAuth : ExtendedKeyUsage.serverAuth)),
    ),
    new SubjectAlternativeNameExtension(names),
    await SubjectKeyIdentifierExtension.create(request.publicKey),
    await AuthorityKeyIdentifierExtension.create(authority.publicKey),
  ];
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [request.commonName] }],
    issuer: authority.subjectName.toJSON(),
    notBefore: new Date(request.now.getTime() - clockSkewMs),
    notAfter: new Date(request.now.getTime() + request.validityMs),
    signingAlgorithm,
    publicKey: request.publicKey,
    signingKey: await importPrivateKey(issuer.privateKeyPem),
    extensions,
  });
  return certificate.toString('pem');
}

/** Reads a certificate request, checks that its sender holds the key; null where it is broken or of another kind of key. */
export async function readRequest(csrPem: string): Promise<{ publicKey: PublicKey; spkiDer: Buffer } | null> {
  try {
    const request = new Pkcs10CertificateRequest(csrPem);
    const algorithm = request.publicKey.algorithm as { name?: string; namedCurve?: string };
    if (algorithm.name !== keyAlgorithm.name || algorithm.namedCurve !== keyAlgorithm.namedCurve) return null;
    if (!(await request.verify())) return null;
    return { publicKey: request.publicKey, spkiDer: Buffer.from(request.publicKey.rawData) };
  } catch {
    return null;
  }
}

/** Reads a certificate; null where it is none. Says nothing about who signed it. */
export function readCertificate(certificate: string | Uint8Array): CertificateFacts | null {
  try {
    const parsed = new X509Certificate(typeof certificate === 'string' ? certificate : new Uint8Array(certificate));
    const names = parsed.getExtension(SubjectAlternativeNameExtension)?.names.items ?? [];
    return {
      spkiDer: Buffer.from(parsed.publicKey.rawData),
      uris: names.filter((name) => name.type === 'url').map((name) => name.value),
      hosts: names.filter((name) => name.type === 'dns' || name.type === 'ip').map((name) => name.value),
      notBefore: parsed.notBefore,
      notAfter: parsed.notAfter,
    };
  } catch {
    return null;
  }
}

/** SHA-256 of a public key, lower-case hex: what is pinned and shown. */
export function fingerprintOf(spkiDer: Uint8Array): string {
  return createHash('sha256').update(spkiDer).digest('hex');
}

async function importPrivateKey(privateKeyPem: string): Promise<CryptoKey> {
  const der = Buffer.from(privateKeyPem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  return await webcrypto.subtle.importKey('pkcs8', der, keyAlgorithm, false, ['sign']);
}

/** 127 random bits, positive as X.509 asks. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}
