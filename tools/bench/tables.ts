// The tables of docs/performance.md, made from results. It must not change a word outside of its marks.
import type { Figure, Report, Results } from './figure.ts';
import { verdict } from './report.ts';
import { rounded, spreadOf } from './statistics.ts';

/** The page with everything between `<!-- results:NAME -->` and `<!-- end -->` made anew. */
export function filled(page: string, results: Results): string {
  return page.replaceAll(
    /(<!-- results:([\w-]+) -->\n)[^]*?(<!-- end -->)/g,
    (_all, open: string, name: string, close: string) => `${open}${contentOf(name, results)}\n${close}`,
  );
}

function contentOf(name: string, { machine, suites }: Results): string {
  if (name === 'machine') {
    const { processor, cores, memoryGib, kernel, system, storage, peers } = machine;
    return `${processor}, ${cores} cores, ${memoryGib} GiB; ${system}, Linux ${kernel}; ${storage}. Peers: ${peers.join(', ')}.`;
  }
  if (name === 'losses') return lossesOf(suites);
  const report = suites.find(({ suite }) => suite === name);
  return report === undefined ? 'Not measured yet.' : tableOf(report);
}

function lossesOf(suites: readonly Report[]): string {
  const missed = suites.flatMap(({ suite, figures }) =>
    figures
      .filter(({ met }) => met === false)
      .map((figure) => `| ${suite} | ${figure.figure} | ${rangeOf(figure)} | ${figure.goal} |`),
  );
  if (missed.length === 0) return suites.length === 0 ? 'Nothing was measured yet.' : 'None: every goal was met.';
  return ['| suite | figure | measured | goal |', '|---|---|---|---|', ...missed].join('\n');
}

function tableOf({ figures, cells, plots, notes, measuredAt, rounds, seconds }: Report): string {
  const figureRows = figures.map(
    (figure) => `| ${figure.figure} | ${rangeOf(figure)} | ${figure.goal} | ${verdict(figure)} |`,
  );
  const cellRows = cells.map(({ what, system, unit, runs }) => {
    const { median, min, max } = spreadOf(runs);
    return `| ${what} | ${system} | ${rounded(median)} ${unit} | ${rounded(min)} to ${rounded(max)} |`;
  });
  return [
    `Measured ${measuredAt.slice(0, 10)}, ${rounds} rounds, ${seconds} s.`,
    ...['', '| figure | median (range) | goal | |', '|---|---|---|---|', ...figureRows, ''],
    ...plots.flatMap(({ name, title }) => [`![${title}](performance/${name}.svg)`, '']),
    ...(cellRows.length === 0 ? [] : ['| measured | of | median | range |', '|---|---|---|---|', ...cellRows, '']),
    ...notes.map((note) => `${note}\n`),
  ]
    .join('\n')
    .trimEnd();
}

function rangeOf({ value, unit, runs, note }: Figure): string {
  if (value === null) return `not measured: ${note ?? ''}`;
  const range = runs.length > 1 ? ` (${Math.min(...runs)} to ${Math.max(...runs)})` : '';
  return `${value} ${unit}${range}`;
}
