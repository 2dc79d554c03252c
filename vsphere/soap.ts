/**
 * One SOAP exchange: envelope out, decoded result or typed fault back. It must not keep sessions or retry.
 */
import { MigrationError } from '../core/index.ts';
import { childOf, decodeElement, decodeField, parseXml, type XmlElement } from './decoder.ts';
import { VsphereFault, type FaultDetail } from './faults.ts';
import { methodSchema, type MoRef } from './schema.ts';
import { escapeXml, serializeCall } from './serializer.ts';
import { networkError, type Transport } from './transport.ts';

export interface SoapCall {
  readonly method: string;
  readonly on: MoRef;
  readonly args: object;
  readonly apiVersion: string;
  /** `name=value`; empty before the login. */
  readonly cookie: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface SoapAnswer {
  readonly result: unknown;
  /** A session cookie that came with the answer, `name=value`. */
  readonly cookie: string | undefined;
}

const endpoints = { vim25: '/sdk', pbm: '/pbm' } as const;
const prologue =
  '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"' +
  ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">';

/** Faults come as VsphereFault, network trouble and nonsense as other members of our family. */
export async function exchange(transport: Transport, call: SoapCall): Promise<SoapAnswer> {
  const { namespace, result } = methodSchema(call.method);
  const body = serializeCall(call.method, call.on, call.args as Record<string, unknown>, call.apiVersion);
  const response = await transport.send({
    method: 'POST',
    path: endpoints[namespace],
    headers: {
      'content-type': 'text/xml; charset=utf-8',
      soapaction: namespace === 'vim25' ? `urn:vim25/${call.apiVersion}` : '',
      ...(call.cookie === '' ? {} : { cookie: call.cookie }),
    },
    body: `${prologue}${header(namespace, call.cookie)}<soapenv:Body>${body}</soapenv:Body></soapenv:Envelope>`,
    idleTimeoutMs: call.timeoutMs,
    signal: call.signal,
  });
  let text: string;
  try {
    text = await response.body.text();
  } catch (error) {
    throw networkError(transport.address, error, call.signal);
  }
  const content = bodyOf(text);
  if (!content) throw strangeAnswer(transport.address, response.statusCode);
  if (content.name === 'Fault') throw faultOf(call.method, content);
  return {
    result:
      result &&
      decodeField(
        result,
        content.children.filter((child) => child.name === 'returnval'),
      ),
    cookie: sessionCookie(response.headers['set-cookie']),
  };
}

/** The policy service knows the session by a SOAP header instead of the cookie. */
function header(namespace: 'vim25' | 'pbm', cookie: string): string {
  if (namespace === 'vim25' || cookie === '') return '';
  const value = cookie.slice(cookie.indexOf('=') + 1).replaceAll('"', '');
  return `<soapenv:Header><vcSessionCookie>${escapeXml(value)}</vcSessionCookie></soapenv:Header>`;
}

function bodyOf(text: string): XmlElement | undefined {
  try {
    return childOf(parseXml(text), 'Body')?.children[0];
  } catch {
    return undefined;
  }
}

/** SOAP 1.1 fault: the detail holds one element whose xsi:type is the vSphere fault. */
function faultOf(method: string, fault: XmlElement): VsphereFault {
  const detail = childOf(fault, 'detail')?.children[0];
  const decoded = detail && decodeElement(detail, detail.name.replace(/Fault$/, ''), true);
  const values = typeof decoded === 'object' ? (decoded as FaultDetail) : {};
  const typed = { ...values, _type: values._type ?? detail?.xsiType ?? detail?.name.replace(/Fault$/, '') };
  return new VsphereFault(method, typed, childOf(fault, 'faultstring')?.text ?? '');
}

function sessionCookie(header: string | string[] | undefined): string | undefined {
  const cookies = typeof header === 'string' ? [header] : (header ?? []);
  return cookies.find((cookie) => cookie.startsWith('vmware_soap_session='))?.split(';')[0];
}

function strangeAnswer(address: string, status: number): MigrationError {
  if (status === 404) return new MigrationError('VSPHERE_NOT_VCENTER', `${address} has no vSphere API`);
  return new MigrationError('VSPHERE_UNREACHABLE', `${address} answered with HTTP status ${status} instead of SOAP`);
}
