// Who may do what: tokens, scopes, limits; and how a refusal looks. Over HTTPS against the real database.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRouteTable } from '../../api/index.ts';
import { problem, scope } from '../../contracts/rest.ts';
import { startTestApi, type TestApi } from '../helpers/api.ts';

let api: TestApi;
const routes = createRouteTable('0.0.0').routes;
const closedRoutes = routes.filter((route) => route.scope !== null);
const addressOf = (path: string): string =>
  path
    .replace(/\{siteId\}/, 'site_01968f4e-7a10-7c3b-9d52-0f6a1be2c9d4')
    .replace(/\{migrationId\}/, 'mig_01968f4e-7a10-7c3b-9d52-0f6a1be2c9d4')
    .replace(/\{vmMigrationId\}/, 'vmm_01968f4e-7a10-7c3b-9d52-0f6a1be2c9d4')
    .replace(/\{alarmId\}/, 'alarm_01968f4e-7a10-7c3b-9d52-0f6a1be2c9d4')
    .replace(/\{tokenId\}/, 'tok_01968f4e-7a10-7c3b-9d52-0f6a1be2c9d4');

beforeAll(async () => {
  api = await startTestApi({ failedLoginsPerMinuteMax: 1_000, requestsPerMinuteMax: 10_000 });
});
afterAll(() => api?.close());

describe('tokens', () => {
  test('every closed route refuses a request without a token', async () => {
    for (const route of closedRoutes) {
      const answer = await api.call(route.method.toUpperCase(), addressOf(route.path), { token: null });
      expect(answer.status, route.path).toBe(401);
      expect(answer.body.code).toBe('UNAUTHENTICATED');
      expect(answer.headers.get('www-authenticate')).toContain('Bearer');
    }
  });

  test('every closed route refuses a token that lacks its scope, and names the scope', async () => {
    for (const route of closedRoutes) {
      const others = scope.options.filter((name) => name !== route.scope);
      const token = await api.tokenWith(others);
      const answer = await api.call(route.method.toUpperCase(), addressOf(route.path), { token });
      expect(answer.status, route.path).toBe(403);
      expect(answer.body.detail).toContain(route.scope);
    }
  });

  test('only what a host or a reader needs is open', () => {
    const open = routes.filter((route) => route.scope === null).map((route) => route.path);
    expect(open.sort()).toEqual(['/docs', '/health', '/host-package/landfall-host.vib', '/openapi.json']);
  });

  test('an unknown, an expired and a revoked token are refused', async () => {
    const expired = await api.tokenWith(['tokens:write'], new Date(Date.now() - 1_000));
    const unknown = `lf_${'x'.repeat(43)}`;
    for (const token of [expired, unknown]) {
      expect((await api.call('GET', '/api/v1/tokens', { token })).status).toBe(401);
    }
    const made = await api.call('POST', '/api/v1/tokens', { body: { name: 'brief', scopes: ['tokens:write'] } });
    const token = String(made.body['secret']);
    expect((await api.call('GET', '/api/v1/tokens', { token })).status).toBe(200);
    expect((await api.call('DELETE', `/api/v1/tokens/${String(made.body['id'])}`)).status).toBe(204);
    expect((await api.call('GET', '/api/v1/tokens', { token })).status).toBe(401);
  });

  test('a token cannot make one that may do more than itself', async () => {
    const token = await api.tokenWith(['tokens:write']);
    const answer = await api.call('POST', '/api/v1/tokens', { token, body: { name: 'more', scopes: ['sites:write'] } });
    expect(answer.status).toBe(403);
    expect(answer.body.detail).toContain('sites:write');
  });

  test('a list of tokens shows no secret', async () => {
    const made = await api.call('POST', '/api/v1/tokens', { body: { name: 'hidden', scopes: ['audit:read'] } });
    const listed = await api.call('GET', '/api/v1/tokens');
    expect(listed.text).toContain('hidden');
    expect(listed.text).not.toContain(String(made.body['secret']));
  });
});

describe('problems', () => {
  test('an address that is not there is a problem with a remedy, and the request id goes through', async () => {
    const answer = await api.call('GET', '/api/v1/nothing', { headers: { 'x-request-id': 'from-outside-1' } });
    expect(answer.status).toBe(404);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(problem.parse(answer.body)).toMatchObject({ code: 'NOT_FOUND', requestId: 'from-outside-1' });
    expect(answer.body.remedy).toContain('/docs');
  });

  test('a body that is no JSON, or no object of the route, is refused with pointers', async () => {
    const broken = await api.call('POST', '/api/v1/tokens', { body: '{"name":' });
    expect([broken.status, broken.body.code]).toEqual([400, 'INVALID_INPUT']);
    const wrong = await api.call('POST', '/api/v1/tokens', { body: { scopes: ['sites:read', 'all'], extra: 1 } });
    expect(wrong.status).toBe(400);
    expect(wrong.body.errors?.map((error) => error.pointer).sort()).toEqual(['/extra', '/name', '/scopes/1']);
  });

  test('path and query are checked as well', async () => {
    const path = await api.call('GET', '/api/v1/migrations/42');
    expect(path.body.errors?.[0]?.pointer).toBe('#/path/migrationId');
    const query = await api.call('GET', '/api/v1/audit?limit=0&colour=red');
    expect(query.body.errors?.map((error) => error.pointer).sort()).toEqual(['#/query/colour', '#/query/limit']);
  });

  test('a body of another media type is refused', async () => {
    const answer = await api.call('POST', '/api/v1/tokens', {
      body: 'name=x',
      headers: { 'content-type': 'text/plain' },
    });
    expect(answer.status).toBe(400);
    expect(answer.body.errors?.[0]?.pointer).toBe('#/header/Content-Type');
  });

  test('a workflow engine that is away makes the installation degraded', async () => {
    expect((await api.call('GET', '/health', { token: null })).status).toBe(200);
    api.workflows.fail = new Error('away');
    const answer = await api.call('GET', '/health', { token: null });
    api.workflows.fail = undefined;
    expect([answer.status, answer.body['status']]).toEqual([503, 'degraded']);
  });

  test('a host package that was not built is said to be missing', async () => {
    const answer = await api.call('GET', '/host-package/landfall-host.vib', { token: null });
    expect([answer.status, answer.body.code]).toEqual([500, 'HOST_PACKAGE_MISSING']);
  });
});

describe('limits', () => {
  test('too many requests are told when to come again', async () => {
    const small = await startTestApi({ requestsPerMinuteMax: 3 });
    try {
      const answers = [];
      for (let count = 0; count < 4; count += 1) answers.push(await small.call('GET', '/api/v1/sites'));
      expect(answers.map((answer) => answer.status)).toEqual([200, 200, 200, 429]);
      expect(answers[3]?.body.code).toBe('TOO_MANY_REQUESTS');
      expect(Number(answers[3]?.headers.get('retry-after'))).toBeGreaterThan(0);
    } finally {
      await small.close();
    }
  });

  test('guessing tokens is slowed', async () => {
    const small = await startTestApi({ failedLoginsPerMinuteMax: 2 });
    try {
      const guess = () => small.call('GET', '/api/v1/sites', { token: `lf_${'y'.repeat(43)}` });
      expect([(await guess()).status, (await guess()).status, (await guess()).status]).toEqual([401, 401, 429]);
    } finally {
      await small.close();
    }
  });
});
