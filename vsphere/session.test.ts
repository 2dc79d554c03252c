// Pinning, negotiation and logging in again, against a small HTTPS server that answers like vCenter.
import { createHash, webcrypto, X509Certificate as NodeCertificate } from 'node:crypto';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import 'reflect-metadata';
import { X509CertificateGenerator } from '@peculiar/x509';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { pickVersion, probe } from './endpoint.ts';
import { connect, type VcenterLogin } from './session.ts';

const password = 'pa<ss>&word';
let server: Server;
let login: VcenterLogin;
let requests: string[];
/** What the next calls of a method answer before the usual answer. */
let faults: Record<string, string[]>;
let apiType: string;
let faultsSent: number;

const envelope = (body: string) =>
  '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" ' +
  `xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>${body}</soapenv:Body></soapenv:Envelope>`;
const faultBody = (type: string) =>
  envelope(
    `<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>no: ${type}</faultstring><detail>` +
      `<${type}Fault xmlns="urn:vim25" xsi:type="${type}"/></detail></soapenv:Fault>`,
  );

function answer(method: string): string {
  switch (method) {
    case 'RetrieveServiceContent':
      return (
        '<rootFolder type="Folder">f</rootFolder><propertyCollector type="PropertyCollector">pc</propertyCollector>' +
        '<about><name>x</name><fullName>Test Server</fullName><vendor>v</vendor><version>8</version><build>1</build>' +
        `<osType>l</osType><productLineId>vpx</productLineId><apiType>${apiType}</apiType>` +
        '<apiVersion>8.0.3.0</apiVersion><instanceUuid>uuid-1</instanceUuid></about>' +
        '<sessionManager type="SessionManager">sm</sessionManager>'
      );
    case 'CurrentTime':
      return '2026-01-02T03:04:05Z';
    default:
      return '';
  }
}

beforeAll(async () => {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: 'CN=test',
    keys,
    signingAlgorithm: algorithm,
  });
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----`;
  const cert = certificate.toString('pem');
  server = createServer({ key, cert }, (request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      if (request.url === '/sdk/vimServiceVersions.xml') {
        const versions = '<version>99.0</version><priorVersions><version>8.0.3.0</version></priorVersions>';
        response.end(`<namespaces><namespace><name>urn:vim25</name>${versions}</namespace></namespaces>`);
        return;
      }
      const method = /<soapenv:Body><(\w+)/.exec(body)?.[1] ?? '';
      requests.push(`${method} ${request.headers.cookie ?? '-'}`);
      const fault =
        faults[method]?.shift() ??
        (method === 'Login' && !body.includes('pa&lt;ss&gt;&amp;word') ? 'InvalidLogin' : undefined);
      if (fault === 'dropped') {
        request.socket.destroy();
        return;
      }
      if (fault !== undefined) {
        response.statusCode = 500;
        // Each later, the last ones while the login of the first is under way.
        setTimeout(() => response.end(faultBody(fault)), 10 * ++faultsSent);
        return;
      }
      if (method === 'Login')
        response.setHeader('set-cookie', `vmware_soap_session="c${requests.length}"; Path=/; Secure`);
      const content = `<returnval>${answer(method)}</returnval>`;
      const reply = envelope(`<${method}Response xmlns="urn:vim25">${content}</${method}Response>`);
      setTimeout(() => response.end(reply), method === 'Login' ? 15 : 0);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  login = {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    user: 'administrator@vsphere.local',
    password,
    thumbprintSha256: createHash('sha256').update(new NodeCertificate(cert).raw).digest('hex'),
  };
});
afterAll(() => server.close());
beforeEach(() => {
  requests = [];
  faults = {};
  faultsSent = 0;
  apiType = 'VirtualCenter';
});

const serviceInstance = { type: 'ServiceInstance', value: 'ServiceInstance' };

it('shows thumbprint and identity of an address without logging in', async () => {
  expect(await probe(login.address)).toEqual({
    thumbprintSha256: login.thumbprintSha256.toUpperCase().match(/../g)?.join(':'),
    instanceUuid: 'uuid-1',
    apiVersion: '8.0.3.0',
    fullName: 'Test Server',
  });
  expect(requests).toEqual(['RetrieveServiceContent -']);
});

it('sends not a byte to a server with another certificate', async () => {
  const attempt = connect({ ...login, thumbprintSha256: 'AB'.repeat(32) });
  await expect(attempt).rejects.toMatchObject({ code: 'VSPHERE_CERTIFICATE_MISMATCH', retry: 'needs-operator' });
  await expect(connect({ ...login, thumbprintSha256: '' })).rejects.toMatchObject({
    code: 'VSPHERE_CERTIFICATE_MISMATCH',
  });
  expect(requests).toEqual([]);
});

it('refuses a single host and says so', async () => {
  apiType = 'HostAgent';
  await expect(connect(login)).rejects.toMatchObject({ code: 'VSPHERE_NOT_VCENTER' });
});

it('names a wrong password without repeating it', async () => {
  const error: unknown = await connect({ ...login, password: 'secret-1' }).catch((e: unknown) => e);
  expect(error).toMatchObject({ code: 'VSPHERE_LOGIN_FAILED', faultType: 'InvalidLogin' });
  expect(JSON.stringify(error) + String(error)).not.toContain('secret-1');
});

it('says that nobody answers', async () => {
  await expect(probe('127.0.0.1:1')).rejects.toMatchObject({ code: 'VSPHERE_UNREACHABLE', retry: 'retryable' });
});

it('logs in again once for all calls that find the session expired, and sends them again', async () => {
  const session = await connect(login);
  faults['CurrentTime'] = ['NotAuthenticated', 'NotAuthenticated', 'NotAuthenticated'];
  const times = await Promise.all([1, 2, 3].map(() => session.call(serviceInstance, 'CurrentTime', {})));
  expect(times).toEqual([1, 2, 3].map(() => new Date('2026-01-02T03:04:05Z')));
  expect(requests.filter((request) => request.startsWith('Login'))).toHaveLength(2);
  const cookies = requests
    .filter((request) => request.startsWith('CurrentTime'))
    .map((request) => request.split(' ')[1]);
  expect(new Set(cookies.slice(0, 3)).size).toBe(1);
  expect(new Set(cookies.slice(3)).size).toBe(1);
  expect(cookies[3]).not.toBe(cookies[0]);
  await session.close();
  await session.close();
  expect(requests.filter((request) => request.startsWith('Logout'))).toHaveLength(1);
});

it('repeats a reading once over a new connection, and nothing that may have had an effect', async () => {
  const session = await connect(login);
  const { sessionManager } = session.content;
  faults['CurrentTime'] = ['dropped', 'NotAuthenticated'];
  faults['AcquireGenericServiceTicket'] = ['dropped'];
  expect(await session.call(serviceInstance, 'CurrentTime', {})).toBeInstanceOf(Date);
  const spec = { _type: 'SessionManagerHttpServiceRequestSpec', url: 'https://a' } as const;
  const ticket = session.call(sessionManager ?? { type: 'SessionManager', value: '' }, 'AcquireGenericServiceTicket', {
    spec,
  });
  await expect(ticket).rejects.toMatchObject({ code: 'VSPHERE_UNREACHABLE', retry: 'retryable' });
  faults['CurrentTime'] = ['dropped', 'dropped'];
  await expect(session.call(serviceInstance, 'CurrentTime', {})).rejects.toMatchObject({ code: 'VSPHERE_UNREACHABLE' });
  await session.close();
});

it('shows neither password nor cookie when it is printed', async () => {
  const session = await connect(login);
  const printed = inspect(session, { depth: 10 }) + JSON.stringify(session);
  expect(printed).not.toContain(password);
  expect(printed).not.toContain(session.cookie());
  await session.close();
});

it('reports a fault that logging in again does not cure', async () => {
  const session = await connect(login);
  faults['CurrentTime'] = ['NotAuthenticated', 'NotAuthenticated'];
  await expect(session.call(serviceInstance, 'CurrentTime', {})).rejects.toMatchObject({
    faultType: 'NotAuthenticated',
  });
  faults['CurrentTime'] = ['NoPermission'];
  await expect(session.call(serviceInstance, 'CurrentTime', {})).rejects.toMatchObject({
    code: 'VSPHERE_NO_PERMISSION',
  });
  await session.close();
});

it.each([
  [['9.1.0.0', '9.2.0.0', '8.0.3.0'], '9.1.0.0'],
  [['6.5', '6.0', '5.5'], '6.5'],
  [['99.0'], undefined],
  [['dev.version'], undefined],
])('of the versions %j speaks %s', (offered, expected) => {
  expect(pickVersion(offered)).toBe(expected);
});
