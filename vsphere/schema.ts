/**
 * The vocabulary that the generated types are written in, and the reader of the generated metadata table.
 * It must hold no knowledge of single vSphere types and do no I/O.
 */
import { dataTypes, faultBases, methods } from './metadata.gen.ts';

/** A managed object: meaningless without the vCenter it came from. Plain data, safe to store and send. */
export interface MoRef<T extends string = string> {
  readonly type: T;
  readonly value: string;
}

/** A data object that says its own type: needed wherever a field may hold one of several types. */
export type Typed<N extends string, T> = T & { _type: N };

/** What an anyType element may hold. 64-bit integers are bigint, times are Date, objects carry `_type`. */
export type AnyValue =
  string | number | bigint | boolean | Date | Uint8Array | MoRef | { _type?: string } | AnyValue[] | undefined;

/** One element of a data type or call. */
export interface Field {
  readonly name: string;
  readonly type: string;
  readonly optional: boolean;
  readonly many: boolean;
  readonly polymorphic: boolean;
  /** First API version that knows it; undefined for what every supported version knows. */
  readonly since: string | undefined;
}

export interface MethodSchema {
  readonly namespace: 'vim25' | 'pbm';
  readonly args: readonly Field[];
  readonly result: Field | undefined;
}

const fieldsByType = new Map<string, readonly Field[]>();
const methodsByName = new Map<string, MethodSchema>();

export function isDataType(name: string): boolean {
  return Object.hasOwn(dataTypes, name);
}

/** All elements of a data type, the base's first: the order that vCenter demands. */
export function fieldsOf(typeName: string): readonly Field[] {
  const known = fieldsByType.get(typeName);
  if (known) return known;
  const [base = '', ...own] = (dataTypes[typeName] ?? '').split('; ');
  const fields = [...(base ? fieldsOf(base) : []), ...own.map(parseField)];
  fieldsByType.set(typeName, fields);
  return fields;
}

export function methodSchema(name: string): MethodSchema {
  const known = methodsByName.get(name);
  if (known) return known;
  const [head = '', ...args] = (methods[name] ?? '').split('; ');
  const [namespace = '', ...result] = head.split(' ');
  if (namespace !== 'vim25' && namespace !== 'pbm') throw new TypeError(`No schema for the call ${name}`);
  const schema = {
    namespace,
    args: args.map(parseField),
    result: result.length > 0 ? parseField(result.join(' ')) : undefined,
  } as const;
  methodsByName.set(name, schema);
  return schema;
}

/** Whether a fault type is `family` or descends from it. Types we never heard of are only themselves. */
export function isFaultOf(faultType: string, family: string): boolean {
  for (let current: string | undefined = faultType; current !== undefined; current = faultBases[current]) {
    if (current === family) return true;
  }
  return false;
}

/** Compares dotted versions: negative when `a` is older. Missing parts count as 0. */
export function compareVersions(a: string, b: string): number {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function parseField(notation: string): Field {
  const [name = '', type = '', version] = notation.split(' ');
  return {
    name: name.replace(/\?$/, ''),
    optional: name.endsWith('?'),
    type: type.replace(/\*$/, '').replace(/\[\]$/, ''),
    many: type.includes('[]'),
    polymorphic: type.endsWith('*'),
    since: version?.replace('@', ''),
  };
}
