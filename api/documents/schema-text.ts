// Says a JSON schema in a few words, and makes an example of it, for the API reference page. Text in, HTML out; pure.
type Json = Readonly<Record<string, unknown>>;

/** The type of a schema as HTML, with links to named schemas. */
export function typeOf(schema: Json): string {
  const name = nameOf(schema);
  if (name !== undefined) return `<a href="#schema-${name}">${name}</a>`;
  const options = (schema['anyOf'] ?? schema['oneOf']) as Json[] | undefined;
  if (options !== undefined) return options.map(typeOf).join(' or ');
  if (schema['const'] !== undefined) return `<code>${JSON.stringify(schema['const'])}</code>`;
  const values = schema['enum'] as unknown[] | undefined;
  if (values !== undefined) return values.map((value) => `<code>${String(value)}</code>`).join(' ');
  if (schema['type'] === 'array') return `list of ${typeOf((schema['items'] ?? {}) as Json)}`;
  if (schema['type'] === 'object') return objectText(schema);
  const type = typeof schema['type'] === 'string' ? schema['type'] : 'any';
  return [type, rangeText(schema), defaultText(schema)].filter((part) => part !== '').join(' ');
}

/** A value that the schema allows, for people to look at. */
export function exampleOf(schema: Json, schemas: Readonly<Record<string, Json>>, depth = 0): unknown {
  const name = nameOf(schema);
  if (name !== undefined) return depth > 5 ? {} : exampleOf(schemas[name] ?? {}, schemas, depth + 1);
  const options = (schema['anyOf'] ?? schema['oneOf']) as Json[] | undefined;
  if (options !== undefined) return exampleOf(options[0] ?? {}, schemas, depth);
  if (schema['const'] !== undefined) return schema['const'];
  if (schema['default'] !== undefined) return schema['default'];
  const values = schema['enum'] as unknown[] | undefined;
  if (values !== undefined) return values[0];
  switch (schema['type']) {
    case 'object':
      return Object.fromEntries(
        Object.entries((schema['properties'] ?? {}) as Record<string, Json>).map(([key, property]) => [
          key,
          exampleOf(property, schemas, depth),
        ]),
      );
    case 'array':
      return [exampleOf((schema['items'] ?? {}) as Json, schemas, depth)];
    case 'boolean':
      return true;
    case 'integer':
    case 'number':
      return Math.max(Number(schema['minimum'] ?? 0), Math.min(50, Number(schema['maximum'] ?? 50)));
    case 'null':
      return null;
    default:
      return exampleText(schema);
  }
}

function exampleText(schema: Json): string {
  if (schema['format'] === 'date-time') return '2026-05-04T20:15:00.000Z';
  const pattern = typeof schema['pattern'] === 'string' ? schema['pattern'] : '';
  const prefix = /^\^([a-z]+)_/.exec(pattern)?.[1];
  if (prefix !== undefined) return `${prefix}_01968f4e-7a10-7c3b-9d52-0f6a1be2c9d4`;
  if (pattern.includes('{31}')) return Array<string>(32).fill('5A').join(':');
  if (pattern.includes('[1-9][0-9]')) return '2147483648';
  if (pattern.includes(':-]{1,80}')) return 'vm-42';
  return 'text';
}

function objectText(schema: Json): string {
  const names = Object.keys(schema['properties'] ?? {});
  return names.length === 0 ? 'object' : `object {${names.join(', ')}}`;
}

function rangeText(schema: Json): string {
  const min = numberOf(schema['minimum'] ?? schema['minLength']);
  const max = numberOf(schema['maximum'] ?? schema['maxLength']);
  if (max === undefined || max >= Number.MAX_SAFE_INTEGER) return '';
  return min === undefined ? `(up to ${max})` : `(${min} to ${max})`;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

function defaultText(schema: Json): string {
  return schema['default'] === undefined
    ? ''
    : `<span class="scope">default ${JSON.stringify(schema['default'])}</span>`;
}

function nameOf(schema: Json): string | undefined {
  const reference = schema['$ref'];
  return typeof reference === 'string' ? reference.split('/').at(-1) : undefined;
}
