// The metadata table is read as written: notation, inheritance of fields and faults, versions.
import { expect, it } from 'vitest';
import { dataTypes, methods } from './metadata.gen.ts';
import { compareVersions, fieldsOf, isDataType, isFaultOf, methodSchema } from './schema.ts';

it('gives the base type’s fields first', () => {
  const names = fieldsOf('VirtualDisk').map(({ name }) => name);
  expect(names.slice(0, 3)).toEqual(['key', 'deviceInfo', 'backing']);
  expect(names.indexOf('controllerKey')).toBeLessThan(names.indexOf('capacityInKB'));
});

it('reads every notation of the table', () => {
  const primitives = /^(string|boolean|byte|short|int|long|float|double|dateTime|base64Binary|anyType|ref|opaque)$/;
  const fields = [
    ...Object.keys(dataTypes).flatMap(fieldsOf),
    ...Object.keys(methods).flatMap((m) => methodSchema(m).args),
  ];
  const strange = fields.filter(
    ({ name, type }) => !/^\w+$/.test(name) || !(primitives.test(type) || isDataType(type)),
  );
  expect(strange.map(({ name, type }) => `${name} ${type}`)).toEqual([]);
});

it('knows result and arguments of a call', () => {
  expect(methodSchema('CreateVM_Task')).toMatchObject({
    namespace: 'vim25',
    result: { type: 'ref' },
    args: [{ name: 'config' }, { name: 'pool' }, { name: 'host', optional: true }],
  });
  expect(() => methodSchema('NoSuchCall')).toThrow(TypeError);
});

it.each([
  ['FileLocked', 'FileFault', true],
  ['FileLocked', 'VimFault', true],
  ['FileLocked', 'FileNotFound', false],
  ['FaultOfTheFuture', 'FaultOfTheFuture', true],
  ['FaultOfTheFuture', 'VimFault', false],
])('%s is a %s: %s', (type, family, expected) => {
  expect(isFaultOf(type, family)).toBe(expected);
});

it.each([
  ['8.0.3.0', '8.0.3.0', 0],
  ['6.7', '6.7.0.0', 0],
  ['7.0.3.0', '8.0', -1],
  ['10.0', '9.1.0.0', 1],
])('compares %s with %s', (a, b, expected) => {
  expect(Math.sign(compareVersions(a, b))).toBe(expected);
});
