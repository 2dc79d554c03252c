/**
 * Reads vCenter's XML into plain objects by the metadata table: arrays are always arrays, 64-bit integers are
 * bigint, references are `MoRef`. Types the table does not know become plain objects of text. It must not
 * interpret what it reads.
 */
import { SaxesParser } from 'saxes';
import { fieldsOf, isDataType, type Field } from './schema.ts';

/** One XML element without its namespace prefixes: servers choose them as they like. */
export interface XmlElement {
  readonly name: string;
  /** Value of `xsi:type` without its prefix. */
  readonly xsiType: string | undefined;
  /** Value of the plain `type` attribute: the type of a referenced managed object. */
  readonly refType: string | undefined;
  text: string;
  readonly children: XmlElement[];
}

/** Parses a whole document. Throws on anything that is not well-formed. */
export function parseXml(xml: string): XmlElement {
  const root: XmlElement = { name: '', xsiType: undefined, refType: undefined, text: '', children: [] };
  const open: XmlElement[] = [root];
  const parser = new SaxesParser();
  parser.on('opentag', (tag) => {
    const entries = Object.entries(tag.attributes);
    const element: XmlElement = {
      name: withoutPrefix(tag.name),
      xsiType: optionalWithoutPrefix(entries.find(([name]) => name.endsWith(':type'))?.[1]),
      refType: tag.attributes['type'],
      text: '',
      children: [],
    };
    open.at(-1)?.children.push(element);
    open.push(element);
  });
  const onText = (text: string): void => {
    const current = open.at(-1);
    if (current) current.text += text;
  };
  parser.on('text', onText);
  parser.on('cdata', onText);
  parser.on('closetag', () => void open.pop());
  parser.on('error', (error) => {
    throw error;
  });
  parser.write(xml).close();
  const top = root.children[0];
  if (!top) throw new SyntaxError('The document is empty');
  return top;
}

export function childOf(element: XmlElement | undefined, name: string): XmlElement | undefined {
  return element?.children.find((child) => child.name === name);
}

/** All elements named like the field, read as the field says. */
export function decodeField(field: Field, elements: readonly XmlElement[]): unknown {
  if (field.many) {
    if (elements.length === 0 && field.optional) return undefined;
    return elements.map((element) => decodeElement(element, field.type, field.polymorphic));
  }
  const element = elements[0];
  return element && decodeElement(element, field.type, field.polymorphic);
}

/** One element of the declared type, or of the type it names itself. */
export function decodeElement(element: XmlElement, declaredType: string, sayType = false): unknown {
  const type = element.xsiType ?? declaredType;
  if (isDataType(type)) return decodeObject(element, type, sayType || element.xsiType !== undefined);
  if (type === 'ref' || type === 'ManagedObjectReference') return { type: element.refType ?? '', value: element.text };
  if (type.startsWith('ArrayOf')) {
    const itemType = itemTypeOf(type.slice('ArrayOf'.length));
    return element.children.map((child) => decodeElement(child, itemType));
  }
  return element.children.length > 0 ? decodeUnknown(element) : decodePrimitive(element.text, type);
}

function decodeObject(element: XmlElement, type: string, sayType: boolean): Record<string, unknown> {
  const byName = new Map<string, XmlElement[]>();
  for (const child of element.children) {
    const known = byName.get(child.name);
    if (known) known.push(child);
    else byName.set(child.name, [child]);
  }
  const decoded: Record<string, unknown> = sayType ? { _type: type } : {};
  for (const field of fieldsOf(type)) {
    const value = decodeField(field, byName.get(field.name) ?? []);
    if (value !== undefined) decoded[field.name] = value;
  }
  return decoded;
}

/** Without a schema, repeated elements are the only sign of an array. */
function decodeUnknown(element: XmlElement): Record<string, unknown> {
  const decoded: Record<string, unknown> = element.xsiType === undefined ? {} : { _type: element.xsiType };
  for (const child of element.children) {
    const value = child.refType === undefined ? decodeElement(child, 'anyType') : decodeElement(child, 'ref');
    const before = decoded[child.name];
    if (before === undefined) decoded[child.name] = value;
    else if (Array.isArray(before)) before.push(value);
    else decoded[child.name] = [before, value];
  }
  return decoded;
}

function decodePrimitive(text: string, type: string): unknown {
  switch (type) {
    case 'boolean':
      return text === 'true' || text === '1';
    case 'long':
    case 'unsignedLong':
      return BigInt(text);
    case 'int':
    case 'short':
    case 'byte':
    case 'unsignedInt':
    case 'unsignedShort':
    case 'unsignedByte':
    case 'float':
    case 'double':
      return Number(text);
    case 'dateTime':
      return new Date(text);
    case 'base64Binary':
      return new Uint8Array(Buffer.from(text, 'base64'));
    default:
      return text;
  }
}

/** `ArrayOfString` holds `string`, `ArrayOfVirtualDevice` holds `VirtualDevice`. */
function itemTypeOf(name: string): string {
  return isDataType(name) || name === 'ManagedObjectReference' ? name : name.charAt(0).toLowerCase() + name.slice(1);
}

function withoutPrefix(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}

function optionalWithoutPrefix(name: string | undefined): string | undefined {
  return name === undefined ? undefined : withoutPrefix(name);
}
