// What is open to everybody: health, the API's own description, and the package that source hosts fetch.
import { z } from 'zod';
import { health, installation, type Health } from '../../contracts/rest.ts';
import { MigrationError } from '../../core/index.ts';
import { readParts } from '../installation/parts.ts';
import { renderDocsPage } from '../documents/docs-page.ts';
import type { OpenApiDocument } from '../documents/openapi.ts';
import { defineRoute, defineStream, ok, type Route } from '../http/route.ts';
import type { Services } from '../services.ts';

const checkTimeoutMs = 3_000;

const healthRoute = defineRoute({
  method: 'get',
  path: '/health',
  tag: 'Installation',
  operationId: 'getHealth',
  summary: 'Whether the installation works',
  scope: null,
  responses: {
    200: { description: 'Everything that the API needs answers', schema: health },
    503: { description: 'Something does not; it is named', schema: health },
  },
  problems: [],
  async handler(_input, { services }) {
    const parts = await Promise.all([
      check('database', () => services.database.pool.query('SELECT 1')),
      check('workflow engine', () => services.workflows.ping()),
    ]);
    const healthy = parts.every((part) => part.ok);
    const body: Health = { status: healthy ? 'ok' : 'degraded', version: services.version, parts };
    return { status: healthy ? 200 : 503, body };
  },
});

async function check(name: string, look: () => Promise<unknown>): Promise<Health['parts'][number]> {
  const tooSlow = new Promise<never>((_resolve, reject) => {
    setTimeout(reject, checkTimeoutMs, new Error('too slow')).unref();
  });
  try {
    await Promise.race([look(), tooSlow]);
    return { name, ok: true, message: 'answers' };
  } catch {
    return { name, ok: false, message: `does not answer within ${checkTimeoutMs / 1_000} s` };
  }
}

const identityRoute = defineRoute({
  method: 'get',
  path: '/api/v1/installation',
  tag: 'Installation',
  operationId: 'getInstallation',
  summary: 'Who this installation is, and how its processes are',
  scope: 'migrations:read',
  responses: { 200: { description: 'Its id and what others need to trust it', schema: installation } },
  problems: [],
  async handler(_input, { services }) {
    return ok({ ...services.identity, version: services.version, parts: await readParts(services.partsFile) });
  },
});

const hostPackageRoute = defineStream({
  method: 'get',
  path: '/host-package/landfall-host.vib',
  tag: 'Installation',
  operationId: 'getHostPackage',
  summary: 'Fetch the host package',
  description: 'Source hosts fetch it from here when their cluster is configured.',
  scope: null,
  responses: { 200: { description: 'The package', mediaType: 'application/octet-stream', schema: z.string() } },
  problems: ['HOST_PACKAGE_MISSING'],
  stream: (_input, { services }, { response }) => sendPackage(services, response),
});

function sendPackage({ hostPackageFile }: Services, response: Parameters<NonNullable<Route['stream']>>[2]['response']) {
  response.type('application/octet-stream');
  return new Promise<void>((resolve, reject) => {
    response.sendFile(hostPackageFile, { cacheControl: false, dotfiles: 'allow' }, (error?: Error) => {
      if (error === undefined || response.headersSent) resolve();
      else reject(new MigrationError('HOST_PACKAGE_MISSING', undefined, { cause: error }));
    });
  });
}

/** The two descriptions need the whole document, which needs the whole table: so it comes as a function. */
export function installationRoutes(documentOf: () => OpenApiDocument): readonly Route[] {
  const openApiRoute = defineRoute({
    method: 'get',
    path: '/openapi.json',
    tag: 'Installation',
    operationId: 'getOpenApi',
    summary: 'This API as an OpenAPI 3.1 document',
    scope: null,
    responses: { 200: { description: 'The document', schema: z.looseObject({}) } },
    problems: [],
    handler: async () => ({ status: 200, body: documentOf() }),
  });
  const docsRoute = defineStream({
    method: 'get',
    path: '/docs',
    tag: 'Installation',
    operationId: 'getDocs',
    summary: 'This API as a page for people',
    scope: null,
    responses: { 200: { description: 'The page', mediaType: 'text/html', schema: z.string() } },
    problems: [],
    async stream(_input, _context, { response }) {
      response.type('html').send(renderDocsPage(documentOf()));
    },
  });
  return [identityRoute, healthRoute, openApiRoute, docsRoute, hostPackageRoute];
}
