// Plots as SVG text, written by hand: bars with their range, and lines. Readable on light and dark pages; it writes no files.
import type { BarPlot, LinePlot } from './figure.ts';
import { rounded } from './statistics.ts';

const width = 760;
const margin = { left: 70, right: 20, top: 44 };
const plotWidth = width - margin.left - margin.right;
const plotHeight = 240;
const legendRowHeight = 18;
const titleHeight = 46;
const ticksWanted = 5;
const colours = 7;

// It brings its own background: a page may be dark where the reader's system is light.
const style = `
  .back { fill: #ffffff; } text { fill: #1f2328; font: 12px sans-serif; } .title { font-size: 15px; font-weight: 600; }
  .grid { stroke: #d8dee4; } .axis { stroke: #6e7781; } .range { stroke: #1f2328; } .line { fill: none; stroke-width: 2; }
  .f0 { fill: #0969da; } .f1 { fill: #d4731a; } .f2 { fill: #57606a; } .f3 { fill: #8c959f; } .f4 { fill: #1a7f37; }
  .f5 { fill: #8250df; } .f6 { fill: #bf8700; } .s0 { stroke: #0969da; } .s1 { stroke: #d4731a; } .s2 { stroke: #57606a; } .s3 { stroke: #8c959f; }
  .s4 { stroke: #1a7f37; } .s5 { stroke: #8250df; } .s6 { stroke: #bf8700; }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117; } text { fill: #e6edf3; } .grid { stroke: #30363d; } .range { stroke: #e6edf3; }
    .f0 { fill: #58a6ff; } .f1 { fill: #f0883e; } .f2 { fill: #8b949e; } .f3 { fill: #6e7681; } .f4 { fill: #3fb950; }
    .s0 { stroke: #58a6ff; } .s1 { stroke: #f0883e; } .s2 { stroke: #8b949e; } .s3 { stroke: #6e7681; } .s4 { stroke: #3fb950; }
  }`;

export const svgOf = (plot: BarPlot | LinePlot): string => (plot.kind === 'bars' ? bars(plot) : lines(plot));

/** Round numbers from 0 to at least `most`. */
export function ticks(most: number): number[] {
  if (!(most > 0)) return [0, 1];
  const rough = most / ticksWanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? rough;
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, at) => Number((at * step).toPrecision(6)));
}

interface Frame {
  readonly title: string;
  readonly xTitle: string;
  readonly yTitle: string;
  readonly yMost: number;
  readonly legend: readonly string[];
}

/** Title, y axis with its grid, axis titles and legend around `body`, which gets the scale of y. */
function framed(frame: Frame, body: (y: (value: number) => number) => string[]): string {
  const yTicks = ticks(frame.yMost);
  const top = yTicks.at(-1) ?? 1;
  const y = (value: number): number => margin.top + plotHeight * (1 - value / top);
  const bottom = margin.top + plotHeight;
  const legendTop = bottom + titleHeight;
  const height = legendTop + frame.legend.length * legendRowHeight + 8;
  const grid = yTicks.map(
    (value) =>
      `<line class="grid" x1="${margin.left}" x2="${width - margin.right}" y1="${at(y(value))}" y2="${at(y(value))}"/>` +
      text(margin.left - 6, y(value) + 4, String(value), 'end'),
  );
  const legend = frame.legend.map((label, row) => {
    const middle = legendTop + row * legendRowHeight;
    const mark = `<rect class="${fill(row)}" x="${margin.left}" y="${middle - 9}" width="12" height="10"/>`;
    return mark + text(margin.left + 18, middle, label);
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(frame.title)}">`,
    `<style>${style}\n</style>`,
    `<rect class="back" width="${width}" height="${height}" rx="6"/>`,
    `<text class="title" x="${margin.left}" y="24">${escaped(frame.title)}</text>`,
    ...grid,
    `<line class="axis" x1="${margin.left}" x2="${width - margin.right}" y1="${bottom}" y2="${bottom}"/>`,
    ...body(y),
    text(margin.left + plotWidth / 2, bottom + 32, frame.xTitle, 'middle'),
    `<text transform="translate(18 ${margin.top + plotHeight / 2}) rotate(-90)" text-anchor="middle">${escaped(frame.yTitle)}</text>`,
    ...legend,
    '</svg>\n',
  ].join('\n');
}

function bars({ title, unit, groups }: BarPlot): string {
  const systems = [...new Set(groups.flatMap((group) => group.bars.map(({ system }) => system)))];
  const yMost = Math.max(0, ...groups.flatMap((group) => group.bars.map(({ max }) => max)));
  const groupWidth = plotWidth / Math.max(1, groups.length);
  const frame = { title, xTitle: 'median, with the range of all rounds', yTitle: unit, yMost, legend: systems };
  return framed(frame, (y) =>
    groups.flatMap((group, index) => {
      const left = margin.left + index * groupWidth;
      const barWidth = Math.min(70, (groupWidth * 0.8) / group.bars.length);
      const start = left + (groupWidth - barWidth * group.bars.length) / 2;
      const drawn = group.bars.map(({ system, median, min, max }, place) => {
        const x = start + place * barWidth;
        const middle = at(x + barWidth / 2);
        return (
          `<rect class="${fill(systems.indexOf(system))}" x="${at(x + 2)}" y="${at(y(median))}" ` +
          `width="${at(barWidth - 4)}" height="${at(y(0) - y(median))}"/>` +
          `<line class="range" x1="${middle}" x2="${middle}" y1="${at(y(min))}" y2="${at(y(max))}"/>` +
          text(x + barWidth / 2, y(max) - 5, String(rounded(median)), 'middle')
        );
      });
      return [...drawn, text(left + groupWidth / 2, margin.top + plotHeight + 16, group.label, 'middle')];
    }),
  );
}

function lines({ title, xTitle, yTitle, series }: LinePlot): string {
  const all = series.flatMap(({ points }) => points);
  const [xLeast, xMost] = [Math.min(0, ...all.map(([x]) => x)), Math.max(1e-9, ...all.map(([x]) => x))];
  const x = (value: number): number => margin.left + (plotWidth * (value - xLeast)) / (xMost - xLeast);
  const yMost = Math.max(0, ...all.map(([, value]) => value));
  const frame = { title, xTitle, yTitle, yMost, legend: series.map(({ label }) => label) };
  return framed(frame, (y) => [
    ...ticks(xMost)
      .filter((value) => value <= xMost)
      .map((value) => text(x(value), margin.top + plotHeight + 16, String(value), 'middle')),
    ...series.map(({ points }, index) => {
      const path = points.map(([px, py]) => `${at(x(px))},${at(y(py))}`).join(' ');
      return `<polyline class="line s${index % colours}" points="${path}"/>`;
    }),
  ]);
}

const fill = (index: number): string => `f${index % colours}`;
const at = (value: number): string => String(Math.round(value * 10) / 10);

function text(x: number, y: number, content: string, anchor = 'start'): string {
  return `<text x="${at(x)}" y="${at(y)}" text-anchor="${anchor}">${escaped(content)}</text>`;
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
