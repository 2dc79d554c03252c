// Draws the OpenAPI document as one plain page: no script, no font, no address outside this server.
// It shows what the document says and knows no route of its own.
import { createHash } from 'node:crypto';
import { errorCodes } from '../../core/index.ts';
import { docsStyle } from './docs-style.ts';
import type { OpenApiDocument, OpenApiOperation } from './openapi.ts';
import { exampleOf, typeOf } from './schema-text.ts';

/** The page allows exactly its own style sheet. */
export const docsStyleHash = `'sha256-${createHash('sha256').update(docsStyle).digest('base64')}'`;

interface Entry {
  readonly method: string;
  readonly path: string;
  readonly operation: OpenApiOperation;
}

export function renderDocsPage(document: OpenApiDocument): string {
  const entries = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): Entry => ({ method, path, operation })),
  );
  const tags = [...new Set(entries.flatMap((entry) => entry.operation.tags))];
  const sections = tags.map((tag) => {
    const members = entries.filter((entry) => entry.operation.tags.includes(tag));
    return `<section><h2 id="tag-${tag}">${escape(tag)}</h2>${members.map((entry) => operationHtml(entry, document)).join('')}</section>`;
  });
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${escape(document.info.title)} API</title><style>${docsStyle}</style></head><body>
<nav aria-label="Contents"><p class="brand">Landfall API</p>${tags.map((tag) => navigationHtml(tag, entries)).join('')}
<p><a href="#schemas">Schemas</a></p><p><a href="#problems">Problems</a></p></nav>
<main><h1>${escape(document.info.title)} REST API <small>${escape(document.info.version)}</small></h1>
${document.info.description
  .split('\n\n')
  .map((paragraph) => `<p>${inline(paragraph)}</p>`)
  .join('')}
<p>The same as a machine-readable document: <a href="/openapi.json">openapi.json</a> (OpenAPI ${document.openapi}).</p>
${sections.join('')}${schemasHtml(document)}${problemsHtml()}</main></body></html>
`;
}

function navigationHtml(tag: string, entries: readonly Entry[]): string {
  const links = entries
    .filter((entry) => entry.operation.tags.includes(tag))
    .map(({ operation }) => `<li><a href="#${operation.operationId}">${escape(operation.summary)}</a></li>`);
  return `<p><a href="#tag-${tag}">${escape(tag)}</a></p><ul>${links.join('')}</ul>`;
}

function operationHtml({ method, path, operation }: Entry, document: OpenApiDocument): string {
  const scope = operation['x-landfall-scope'];
  const parameters = (operation.parameters ?? []).map(
    (parameter) =>
      `<tr><td><code>${escape(parameter.name)}</code>${parameter.required ? ' <b title="required">*</b>' : ''}</td>` +
      `<td>${parameter.in}</td><td>${typeOf(parameter.schema)}</td><td>${inline(parameter.description ?? '')}</td></tr>`,
  );
  const request = operation.requestBody?.content['application/json']?.schema;
  const answers = Object.entries(operation.responses).filter(([status]) => status < '400');
  const codes = operation['x-landfall-problems'].map((code) => `<a href="#${code}"><code>${code}</code></a>`);
  return `<article id="${operation.operationId}"><h3>${escape(operation.summary)}</h3>
<p class="route"><span class="method ${method}">${method.toUpperCase()}</span> <code>${escape(path)}</code>
<span class="scope">${scope === null ? 'open' : escape(scope)}</span></p>
${operation.description === undefined ? '' : `<p>${inline(operation.description)}</p>`}
${parameters.length === 0 ? '' : table(['Parameter', 'In', 'Type', 'Meaning'], parameters)}
${request === undefined ? '' : `<h4>Body: ${typeOf(request)}</h4>${example(request, document)}`}
${answers.map(([status, answer]) => answerHtml(status, answer, document)).join('')}
<p class="codes">Problems: ${codes.join(' ')}</p></article>`;
}

function answerHtml(status: string, answer: OpenApiOperation['responses'][string], document: OpenApiDocument): string {
  const [mediaType, content] = Object.entries(answer.content ?? {})[0] ?? [];
  const body = content === undefined || mediaType !== 'application/json' ? '' : example(content.schema, document);
  const type =
    content === undefined
      ? 'no body'
      : mediaType === 'application/json'
        ? typeOf(content.schema)
        : escape(mediaType ?? '');
  return `<h4>${status}: ${type} <small>${inline(answer.description)}</small></h4>${body}`;
}

function example(schema: Record<string, unknown>, document: OpenApiDocument): string {
  const text = JSON.stringify(exampleOf(schema, document.components.schemas), null, 2);
  return `<details><summary>Example</summary><pre>${escape(text)}</pre></details>`;
}

function schemasHtml(document: OpenApiDocument): string {
  const items = Object.entries(document.components.schemas).map(([id, schema]) => {
    const required = new Set((schema['required'] as string[] | undefined) ?? []);
    const rows = Object.entries((schema['properties'] ?? {}) as Record<string, Record<string, unknown>>).map(
      ([name, property]) =>
        `<tr><td><code>${escape(name)}</code>${required.has(name) ? ' <b title="required">*</b>' : ''}</td>` +
        `<td>${typeOf(property)}</td><td>${inline(textOf(property['description']))}</td></tr>`,
    );
    const body = rows.length === 0 ? `<p>${typeOf(schema)}</p>` : table(['Field', 'Type', 'Meaning'], rows);
    return `<article id="schema-${id}"><h3>${escape(id)}</h3><p>${inline(textOf(schema['description']))}</p>${body}</article>`;
  });
  return `<section><h2 id="schemas">Schemas</h2>${items.join('')}</section>`;
}

function problemsHtml(): string {
  const rows = Object.entries(errorCodes).map(
    ([code, entry]) =>
      `<tr id="${code}"><td><code>${code}</code></td><td>${entry.httpStatus}</td><td>${escape(entry.title)}</td>` +
      `<td>${escape(entry.remedy)}</td><td>${entry.retry}</td></tr>`,
  );
  return `<section><h2 id="problems">Problems</h2>${table(['Code', 'Status', 'Title', 'Remedy', 'Retry'], rows)}</section>`;
}

function table(headings: readonly string[], rows: readonly string[]): string {
  const head = headings.map((heading) => `<th scope="col">${heading}</th>`).join('');
  return `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Escapes, then shows `code` as code. */
function inline(text: string): string {
  return escape(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>');
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
