import { expect, test } from 'vitest';
import { createRouteTable } from '../routes/index.ts';
import { problemsOf } from './openapi.ts';

const { routes, document } = createRouteTable('1.2.3');
const text = JSON.stringify(document);

test('every route stands in the document, once, with an operation id of its own', () => {
  const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods));
  expect(operations).toHaveLength(routes.length);
  expect(new Set(operations.map((operation) => operation.operationId)).size).toBe(routes.length);
});

test('every reference leads to a schema', () => {
  const references = [...text.matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map((match) => match[1] ?? '');
  expect(references.length).toBeGreaterThan(50);
  for (const name of references) expect(document.components.schemas, name).toHaveProperty(name);
});

test('path parameters stand in both the path and the list', () => {
  for (const [path, methods] of Object.entries(document.paths)) {
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
    for (const operation of Object.values(methods)) {
      const listed = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path');
      expect(
        listed.map((parameter) => parameter.name),
        path,
      ).toEqual(inPath);
    }
  }
});

test('a closed route says so and can answer 401 and 403', () => {
  for (const route of routes) {
    const operation = document.paths[route.path]?.[route.method];
    expect(operation?.security).toEqual(route.scope === null ? [] : [{ token: [] }]);
    if (route.scope !== null)
      expect(Object.keys(operation?.responses ?? {})).toEqual(expect.arrayContaining(['401', '403']));
    expect(problemsOf(route)).toContain('INTERNAL');
  }
});

test('no answer has a field for a password, and only one for a new token’s secret', () => {
  const { schemas } = document.components;
  const withSecret = Object.entries(schemas).filter(([, schema]) =>
    /"(password|secret)":\{/.test(JSON.stringify(schema)),
  );
  expect(withSecret.map(([name]) => name).sort()).toEqual(['CreatedToken', 'RegisterSiteRequest']);
});
