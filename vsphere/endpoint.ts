/**
 * What can be learned from a vCenter before logging in: its certificate, who it says it is, and the API version
 * that both sides know. It must not take credentials.
 */
import { MigrationError } from '../core/index.ts';
import { childOf, parseXml, type XmlElement } from './decoder.ts';
import { schemaVersion } from './metadata.gen.ts';
import { compareVersions, type MoRef } from './schema.ts';
import { exchange } from './soap.ts';
import { openTransport, type Transport } from './transport.ts';
import type { ServiceContent } from './types.gen.ts';

export interface ProbeResult {
  /** SHA-256 thumbprint of the certificate that the address shows now, `AA:BB:..`. */
  readonly thumbprintSha256: string;
  readonly instanceUuid: string;
  readonly apiVersion: string;
  /** For people: product, version and build. */
  readonly fullName: string;
}

/** The oldest API we speak: vSphere 6.5. */
const oldestVersion = '6.5';
const probeTimeoutMs = 15_000;
const serviceInstance: MoRef<'ServiceInstance'> = { type: 'ServiceInstance', value: 'ServiceInstance' };

/**
 * Looks at an address without logging in and without trusting its certificate. May be called any number of times.
 * Fails with VSPHERE_UNREACHABLE or VSPHERE_NOT_VCENTER (something else, or a single ESXi host).
 */
export async function probe(address: string, signal?: AbortSignal): Promise<ProbeResult> {
  const transport = openTransport(address, undefined);
  try {
    const { content, apiVersion } = await negotiate(transport, signal);
    return {
      thumbprintSha256: transport.seenThumbprint() ?? '',
      instanceUuid: content.about.instanceUuid ?? '',
      apiVersion,
      fullName: content.about.fullName,
    };
  } finally {
    await transport.close();
  }
}

/** Agrees on an API version and reads the service content; needs no session. */
export async function negotiate(
  transport: Transport,
  signal?: AbortSignal,
): Promise<{ content: ServiceContent; apiVersion: string }> {
  const offered = await offeredVersions(transport, signal);
  const call = { method: 'RetrieveServiceContent', on: serviceInstance, args: {}, cookie: '' };
  const apiVersion = pickVersion(offered) ?? oldestVersion;
  const { result } = await exchange(transport, { ...call, apiVersion, timeoutMs: probeTimeoutMs, signal });
  const content = result as ServiceContent;
  if (content.about.apiType !== 'VirtualCenter') {
    throw new MigrationError('VSPHERE_NOT_VCENTER', `${transport.address} is ${content.about.fullName}, not a vCenter`);
  }
  return { content, apiVersion: pickVersion([...offered, content.about.apiVersion]) ?? oldestVersion };
}

/** The newest offered version that our schema describes. */
export function pickVersion(offered: readonly string[]): string | undefined {
  return offered
    .filter((version) => /^\d+(\.\d+)*$/.test(version) && compareVersions(version, schemaVersion) <= 0)
    .sort(compareVersions)
    .at(-1);
}

async function offeredVersions(transport: Transport, signal?: AbortSignal): Promise<string[]> {
  const response = await transport.send({
    method: 'GET',
    path: '/sdk/vimServiceVersions.xml',
    idleTimeoutMs: probeTimeoutMs,
    signal,
  });
  const text = await response.body.text();
  if (response.statusCode !== 200) return [];
  try {
    return versionsIn(parseXml(text));
  } catch {
    return [];
  }
}

function versionsIn(document: XmlElement): string[] {
  const vim = document.children.find((namespace) => childOf(namespace, 'name')?.text === 'urn:vim25');
  const prior = childOf(vim, 'priorVersions')?.children ?? [];
  return [childOf(vim, 'version'), ...prior].flatMap((element) => (element ? [element.text] : []));
}
