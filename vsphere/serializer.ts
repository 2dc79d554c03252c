/**
 * Writes calls as XML the way vCenter demands: elements in schema order, `xsi:type` wherever several types are
 * possible, nothing that the connection's API version does not know. It must not send anything.
 */
import { compareVersions, fieldsOf, isDataType, methodSchema, type Field, type MoRef } from './schema.ts';

type Values = Readonly<Record<string, unknown>>;

/** The element of one call, ready to stand in a SOAP body. */
export function serializeCall(method: string, on: MoRef, args: Values, apiVersion: string): string {
  const { namespace, args: fields } = methodSchema(method);
  const parts = [`<${method} xmlns="urn:${namespace}">`, element('_this', ` type="${escape(on.type)}"`, on.value)];
  writeFields(parts, method, fields, args, apiVersion);
  parts.push(`</${method}>`);
  return parts.join('');
}

export function escapeXml(text: string): string {
  return escape(text);
}

function writeFields(parts: string[], owner: string, fields: readonly Field[], values: Values, version: string): void {
  for (const name of Object.keys(values)) {
    if (name === '_type' || fields.some((field) => field.name === name)) continue;
    if (values[name] !== undefined) throw new TypeError(`${owner} has no element ${name}`);
  }
  for (const field of fields) {
    const value = values[field.name];
    if (value === undefined || value === null) continue;
    if (field.since !== undefined && compareVersions(field.since, version) > 0) continue;
    const items: readonly unknown[] = field.many && Array.isArray(value) ? value : [value];
    for (const item of items) writeValue(parts, field, item, `${owner}.${field.name}`, version);
  }
}

function writeValue(parts: string[], field: Field, value: unknown, where: string, version: string): void {
  if (field.type === 'anyType') return writeAny(parts, field.name, value, where, version);
  if (field.type === 'ref') {
    const ref = value as MoRef;
    parts.push(element(field.name, ` type="${escape(ref.type)}"`, ref.value));
    return;
  }
  if (!isDataType(field.type)) {
    parts.push(element(field.name, '', primitiveText(field.type, value, where)));
    return;
  }
  const values = value as Values;
  const own = values['_type'];
  if (field.polymorphic && typeof own !== 'string') throw new TypeError(`${where} needs a _type`);
  const type = typeof own === 'string' ? own : field.type;
  writeObject(parts, field.name, type, type !== field.type || field.polymorphic, values, version);
}

function writeObject(
  parts: string[],
  name: string,
  type: string,
  explicit: boolean,
  values: Values,
  version: string,
): void {
  if (!isDataType(type)) throw new TypeError(`No schema for the type ${type}`);
  parts.push(`<${name}${explicit ? ` xsi:type="${type}"` : ''}>`);
  writeFields(parts, type, fieldsOf(type), values, version);
  parts.push(`</${name}>`);
}

/** anyType elements always say what they hold. */
function writeAny(parts: string[], name: string, value: unknown, where: string, version: string): void {
  const primitive = xsdTypeOf(value);
  if (primitive !== undefined) {
    parts.push(element(name, ` xsi:type="xsd:${primitive}"`, primitiveText(primitive, value, where)));
  } else if (isMoRef(value)) {
    parts.push(element(name, ` xsi:type="ManagedObjectReference" type="${escape(value.type)}"`, value.value));
  } else {
    const type = (value as Values)['_type'];
    if (typeof type !== 'string') throw new TypeError(`${where} needs a _type`);
    writeObject(parts, name, type, true, value as Values, version);
  }
}

function xsdTypeOf(value: unknown): string | undefined {
  if (typeof value === 'string' || typeof value === 'boolean') return typeof value;
  if (typeof value === 'bigint') return 'long';
  if (typeof value === 'number') return Number.isInteger(value) ? 'int' : 'double';
  if (value instanceof Date) return 'dateTime';
  if (value instanceof Uint8Array) return 'base64Binary';
  return undefined;
}

function primitiveText(type: string, value: unknown, where: string): string {
  switch (type) {
    case 'long':
    case 'int':
    case 'short':
    case 'byte':
      if (typeof value !== 'bigint' && !Number.isSafeInteger(value)) throw new TypeError(`${where} needs an integer`);
      return String(value);
    case 'dateTime':
      return (value as Date).toISOString();
    case 'base64Binary':
      return Buffer.from(value as Uint8Array).toString('base64');
    case 'opaque':
      throw new TypeError(`${where} can be read but not sent`);
    default:
      return String(value);
  }
}

function isMoRef(value: unknown): value is MoRef {
  return typeof value === 'object' && value !== null && 'type' in value && 'value' in value && !('_type' in value);
}

function element(name: string, attributes: string, text: string): string {
  return `<${name}${attributes}>${escape(text)}</${name}>`;
}

/** Characters that XML 1.0 cannot carry at all. */
// eslint-disable-next-line no-control-regex
const illegal = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;

function escape(text: string): string {
  if (illegal.test(text)) throw new TypeError('Text holds a control character that XML cannot carry');
  return text.replace(/[&<>"\r]/g, (c) => entities[c] ?? c);
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\r': '&#13;',
};
