// Certificates and requests that only agents make, for stand-ins of agents.
import 'reflect-metadata';
import type { webcrypto } from 'node:crypto';
import { Pkcs10CertificateRequestGenerator, X509CertificateGenerator } from '@peculiar/x509';

const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' };

/** The certificate of an agent that nobody has enrolled: it says nothing but which key it has. */
export async function createSelfSigned(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: [{ CN: ['landfall agent'] }],
    signingAlgorithm,
    keys,
  });
  return certificate.toString('pem');
}

export async function createRequest(keys: webcrypto.CryptoKeyPair): Promise<string> {
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: ['landfall agent'] }],
    signingAlgorithm,
    keys,
  });
  return request.toString('pem');
}
