// Makes the OpenAPI 3.1 document from the route table and the schemas in contracts/. Pure: same table, same text.
// It must not know any route; what a route says of itself is all there is.
import { z } from 'zod';
import { problem } from '../../contracts/rest.ts';
import { errorCodes, type ErrorCode } from '../../core/index.ts';
import type { Route } from '../http/route.ts';

type Json = Record<string, unknown>;

export interface OpenApiDocument {
  readonly openapi: '3.1.0';
  readonly info: { readonly title: string; readonly version: string; readonly description: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, OpenApiOperation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Json>>; readonly securitySchemes: Json };
  readonly [other: string]: unknown;
}

export interface OpenApiOperation {
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  readonly tags: readonly string[];
  readonly parameters?: readonly OpenApiParameter[];
  readonly requestBody?: {
    readonly required: boolean;
    readonly content: Readonly<Record<string, { readonly schema: Json }>>;
  };
  readonly responses: Readonly<Record<string, OpenApiResponse>>;
  readonly security: readonly Json[];
  readonly 'x-landfall-scope': string | null;
  readonly 'x-landfall-problems': readonly string[];
}

export interface OpenApiParameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required: boolean;
  readonly description?: string;
  readonly schema: Json;
}

export interface OpenApiResponse {
  readonly description: string;
  readonly headers?: Json;
  readonly content?: Readonly<Record<string, { readonly schema: Json }>>;
}

const introduction = [
  'Landfall moves running virtual machines from one vSphere site to another.',
  'Every request needs `Authorization: Bearer TOKEN` except where it says that it is open; each route names the scope that the token must have.',
  'A POST may carry an `Idempotency-Key`: a repeat within 24 hours gets the first answer instead of a second effect.',
  'What goes wrong comes as `application/problem+json` (RFC 9457) with a stable `code` and a `remedy`.',
].join('\n\n');

/** Codes that any route may answer with, so that they are not repeated in each. */
const commonProblems: readonly ErrorCode[] = ['TOO_MANY_REQUESTS', 'INTERNAL', 'DATABASE_UNAVAILABLE'];

export function makeOpenApiDocument(routes: readonly Route[], version: string): OpenApiDocument {
  const components = new Components();
  const problemSchema = components.schemaOf(problem, 'output');
  const paths: Record<string, Record<string, OpenApiOperation>> = {};
  for (const route of routes) {
    (paths[route.path] ??= {})[route.method] = operationOf(route, components, problemSchema);
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Landfall', version, description: introduction },
    servers: [{ url: '/' }],
    tags: [...new Set(routes.map((route) => route.tag))].map((name) => ({ name })),
    paths,
    components: {
      schemas: components.sorted(),
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'An API token: `landfall token create`' },
      },
    },
  };
}

/** The codes that a route may answer with, its own and those that follow from what it is. */
export function problemsOf(route: Route): ErrorCode[] {
  const codes = new Set<ErrorCode>(route.problems);
  if (route.scope !== null) for (const code of ['UNAUTHENTICATED', 'FORBIDDEN'] as const) codes.add(code);
  if (route.params ?? route.query ?? route.body) codes.add('INVALID_INPUT');
  if (route.method === 'post')
    for (const code of ['IDEMPOTENCY_KEY_REUSED', 'IDEMPOTENCY_KEY_BUSY'] as const) codes.add(code);
  for (const code of commonProblems) codes.add(code);
  return [...codes].sort();
}

function operationOf(route: Route, components: Components, problemSchema: Json): OpenApiOperation {
  const parameters = [
    ...parametersOf('path', route.params, components),
    ...parametersOf('query', route.query, components),
    ...(route.method === 'post' ? [idempotencyKeyParameter] : []),
  ];
  const problems = problemsOf(route);
  return {
    operationId: route.operationId,
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    tags: [route.tag],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: !route.body.safeParse({}).success,
            content: { 'application/json': { schema: components.schemaOf(route.body, 'input') } },
          },
        }),
    responses: { ...successesOf(route, components), ...failuresOf(problems, problemSchema) },
    security: route.scope === null ? [] : [{ token: [] }],
    'x-landfall-scope': route.scope,
    'x-landfall-problems': problems,
  };
}

const idempotencyKeyParameter: OpenApiParameter = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: 'Any text that is new for every new request; a repeat gets the first answer',
  schema: { type: 'string', minLength: 1, maxLength: 200 },
};

function parametersOf(place: 'path' | 'query', schema: z.ZodType | undefined, components: Components) {
  if (schema === undefined) return [];
  const object = components.schemaOf(schema, 'input') as { properties?: Record<string, Json>; required?: string[] };
  return Object.entries(object.properties ?? {}).map(([name, { description, ...rest }]): OpenApiParameter => ({
    name,
    in: place,
    required: place === 'path' || (object.required ?? []).includes(name),
    ...(typeof description === 'string' ? { description } : {}),
    schema: rest,
  }));
}

function successesOf(route: Route, components: Components): Record<string, OpenApiResponse> {
  return Object.fromEntries(
    Object.entries(route.responses).map(([status, response]) => {
      const mediaType = response.mediaType ?? (response.schema === undefined ? undefined : 'application/json');
      const schema =
        response.schema === undefined ? { type: 'string' } : components.schemaOf(response.schema, 'output');
      const headers = Object.entries(response.headers ?? {}).map(([name, description]) => [
        name,
        { description, schema: { type: 'string' } },
      ]);
      return [
        status,
        {
          description: response.description,
          ...(headers.length === 0 ? {} : { headers: Object.fromEntries(headers) as Json }),
          ...(mediaType === undefined ? {} : { content: { [mediaType]: { schema } } }),
        },
      ];
    }),
  );
}

function failuresOf(problems: readonly ErrorCode[], problemSchema: Json): Record<string, OpenApiResponse> {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of problems) {
    const { httpStatus } = errorCodes[code];
    byStatus.set(httpStatus, [...(byStatus.get(httpStatus) ?? []), code]);
  }
  const sorted = [...byStatus].sort(([a], [b]) => a - b);
  return Object.fromEntries(
    sorted.map(([status, codes]) => [
      String(status),
      {
        description: codes.map((code) => `\`${code}\` ${errorCodes[code].title}`).join('; '),
        content: { 'application/problem+json': { schema: problemSchema } },
      },
    ]),
  );
}

/** Collects every schema that has an id under components/schemas, and refers to it from everywhere else. */
class Components {
  readonly #schemas = new Map<string, Json>();

  schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
    const { $schema: _, $defs, ...root } = z.toJSONSchema(schema, { io, override: tidy(io) }) as Json;
    for (const [id, definition] of Object.entries(($defs ?? {}) as Record<string, Json>)) this.#add(id, definition);
    const { id, ...body } = relocated(root) as Json;
    if (typeof id !== 'string') return body;
    this.#add(id, body);
    return { $ref: `#/components/schemas/${id}` };
  }

  sorted(): Record<string, Json> {
    return Object.fromEntries([...this.#schemas].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  #add(id: string, definition: Json): void {
    const { id: _, ...body } = relocated(definition) as Json;
    const known = this.#schemas.get(id);
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(body)) {
      throw new TypeError(`Schema ${id} differs between request and response: give them two ids`);
    }
    this.#schemas.set(id, body);
  }
}

/** Answers may grow fields, so clients must not be told to refuse them; very long date patterns help nobody. */
function tidy(io: 'input' | 'output') {
  return ({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodTypes; jsonSchema: z.core.JSONSchema.BaseSchema }) => {
    const { catchall } = zodSchema._zod.def as { catchall?: z.core.$ZodType };
    if (io === 'output' && catchall === undefined) delete jsonSchema.additionalProperties;
    if (jsonSchema.format === 'date-time') delete jsonSchema.pattern;
  };
}

function relocated(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(relocated);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) =>
      key === '$ref' && typeof inner === 'string'
        ? [key, inner.replace('#/$defs/', '#/components/schemas/')]
        : [key, relocated(inner)],
    ),
  );
}
