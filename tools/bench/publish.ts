/**
 * Writes what was measured into docs/: results.json, plots and the tables of performance.md, so that no number there is typed by
 * hand. A suite that was not measured now keeps what it had.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { format } from 'prettier';
import type { Report, Results } from './figure.ts';
import type { Machine } from './machine.ts';
import { svgOf } from './svg.ts';
import { filled } from './tables.ts';

const folder = 'docs/performance';
const page = 'docs/performance.md';
const results = `${folder}/results.json`;

/** Puts the reports in the place of older ones of the same suites. */
export async function publish(reports: readonly Report[], machine: Machine): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const before = existsSync(results) ? (JSON.parse(readFileSync(results, 'utf8')) as Results).suites : [];
  const kept = before.filter(({ suite }) => !reports.some((report) => report.suite === suite));
  const suites = [...kept, ...reports].sort((a, b) => a.suite.localeCompare(b.suite));
  const all: Results = { machine, suites };
  for (const { plots } of reports) {
    for (const plot of plots) writeFileSync(`${folder}/${plot.name}.svg`, svgOf(plot));
  }
  writeFileSync(results, await format(JSON.stringify(all), { parser: 'json', printWidth: 120 }));
  writeFileSync(page, filled(readFileSync(page, 'utf8'), all));
}
