/**
 * `npm run bench -- SUITE [--json FILE]`: figures of the product, measured several times, each against its goal. It prints
 * and writes what it measured; it never fails because of a figure: a bench is not a timed test.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { measureStart } from './bench/start.ts';
import type { Figure } from './bench/figure.ts';

const suites: Readonly<Record<string, () => Promise<readonly Figure[]>>> = {
  start: measureStart,
};

const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'string' } } });
const suite = suites[positionals[0] ?? ''];
if (suite === undefined) {
  process.stderr.write(`Usage: npm run bench -- SUITE [--json FILE]\nSuites: ${Object.keys(suites).join(', ')}\n`);
  process.exit(2);
}
const figures = await suite();
for (const { figure, value, unit, goal, met } of figures) {
  process.stdout.write(`${met ? 'met   ' : 'missed'}  ${figure}: ${value} ${unit} (goal ${goal})\n`);
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(figures, null, 2)}\n`);
