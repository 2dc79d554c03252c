import { expect, test } from 'vitest';
import { z } from 'zod';
import { MigrationError } from '../../core/index.ts';
import { invalidInput, issuesToErrors, toProblem } from './problems.ts';

const request = { requestId: 'r-1', instance: '/api/v1/sites' };

test('an error of the family keeps its message, remedy and class', () => {
  const problem = toProblem(new MigrationError('VM_NOT_ELIGIBLE', 'app-01: The VM has snapshots'), request);
  expect(problem).toMatchObject({
    type: '/docs#VM_NOT_ELIGIBLE',
    status: 422,
    code: 'VM_NOT_ELIGIBLE',
    detail: 'app-01: The VM has snapshots',
    retry: 'permanent',
    instance: '/api/v1/sites',
  });
});

test('an unknown error loses its text, which may hold a secret', () => {
  const problem = toProblem(new Error('connect to https://user:hunter2@host failed'), request);
  expect(problem.status).toBe(500);
  expect(JSON.stringify(problem)).not.toContain('hunter2');
});

test('a database that is away is said to be away, however deep the reason lies', () => {
  const refused = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
  expect(toProblem(new Error('query failed', { cause: refused }), request).code).toBe('DATABASE_UNAVAILABLE');
  expect(toProblem(new AggregateError([refused]), request).status).toBe(503);
});

test('a database that is starting up is away too', () => {
  const met = { name: 'DriverAdapterError', cause: { originalCode: '57P03', code: '57P03', kind: 'postgres' } };
  const error = Object.assign(new Error('Invalid invocation'), { code: 'P2039', meta: { driverAdapterError: met } });
  expect(toProblem(error, request).code).toBe('DATABASE_UNAVAILABLE');
});

test('a fault of a vCenter that could not be reached is not taken for the database', () => {
  const refused = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
  const error = new MigrationError('VSPHERE_UNREACHABLE', 'vcenter.example cannot be reached', { cause: refused });
  expect(toProblem(error, request)).toMatchObject({ code: 'VSPHERE_UNREACHABLE', status: 502 });
});

test('each wrong field is named by a JSON pointer', () => {
  const schema = z.strictObject({ vms: z.array(z.strictObject({ 'a/b': z.string() })) });
  const result = schema.safeParse({ vms: [{ 'a/b': 1 }], other: 1, more: 2 });
  const errors = issuesToErrors('', result.error?.issues ?? []);
  expect(errors.map((error) => error.pointer).sort()).toEqual(['/more', '/other', '/vms/0/a~1b']);
  expect(toProblem(invalidInput(errors), request).errors).toHaveLength(3);
});

test('a wrong key says what is wrong with it', () => {
  const schema = z.record(z.string().regex(/^a/, 'must begin with a'), z.number());
  const errors = issuesToErrors('', schema.safeParse({ b: 1 }).error?.issues ?? []);
  expect(errors).toEqual([{ pointer: '/b', message: 'must begin with a' }]);
});
