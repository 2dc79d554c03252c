import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { errorCodes } from '../../core/index.ts';
import { createRouteTable } from '../routes/index.ts';
import { docsStyleHash, renderDocsPage } from './docs-page.ts';

const { routes, document } = createRouteTable('1.2.3');
const page = renderDocsPage(document);

test('the page shows every route and explains every problem code', () => {
  for (const route of routes) expect(page).toContain(`id="${route.operationId}"`);
  for (const code of Object.keys(errorCodes)) expect(page).toContain(`id="${code}"`);
});

test('every link within the page leads somewhere', () => {
  const targets = new Set([...page.matchAll(/ id="([^"]+)"/g)].map((match) => match[1]));
  const links = [...page.matchAll(/href="#([^"]+)"/g)].map((match) => match[1]);
  expect(links.filter((link) => !targets.has(link))).toEqual([]);
});

test('the page loads nothing and runs nothing', () => {
  expect(page).not.toMatch(/<script|<link|<img|src=|url\(|https?:\/\//);
});

test('the allowed style is the style of the page', () => {
  const style = /<style>([^]*)<\/style>/.exec(page)?.[1] ?? '';
  expect(docsStyleHash).toBe(`'sha256-${createHash('sha256').update(style).digest('base64')}'`);
});
