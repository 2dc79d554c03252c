/** Measured figures, what they were measured from, and plots of them, as `--json` writes it. */
import type { Machine } from './machine.ts';
import { median, rounded } from './statistics.ts';

export interface Figure {
  readonly figure: string;
  /** Median of the runs; null when it could not be measured, and `note` says why. */
  readonly value: number | null;
  readonly unit: string;
  /** Empty for what is published without a goal. */
  readonly goal: string;
  readonly met: boolean | null;
  /** Every single measurement. */
  readonly runs: readonly number[];
  readonly note?: string;
}

/** One thing measured of one system, from which figures are made. */
export interface Cell {
  readonly what: string;
  readonly system: string;
  readonly unit: string;
  readonly runs: readonly number[];
}

export interface BarPlot {
  readonly kind: 'bars';
  readonly name: string;
  readonly title: string;
  readonly unit: string;
  readonly groups: readonly { readonly label: string; readonly bars: readonly Bar[] }[];
}

export interface Bar {
  readonly system: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface LinePlot {
  readonly kind: 'lines';
  readonly name: string;
  readonly title: string;
  readonly xTitle: string;
  readonly yTitle: string;
  readonly series: readonly { readonly label: string; readonly points: readonly (readonly [number, number])[] }[];
}

export interface SuiteResult {
  readonly figures: readonly Figure[];
  readonly cells: readonly Cell[];
  readonly plots: readonly (BarPlot | LinePlot)[];
  /** What a reader must know to judge the figures: what was left out, and why. */
  readonly notes: readonly string[];
}

/** A suite as it was measured once. */
export interface Report extends SuiteResult {
  readonly suite: string;
  readonly measuredAt: string;
  readonly rounds: number;
  readonly seconds: number;
}

/** What is kept of all suites. */
export interface Results {
  readonly machine: Machine;
  readonly suites: readonly Report[];
}

/** A figure that must not be larger than its goal. */
export function atMost(figure: string, runs: readonly number[], limit: number, unit: string): Figure {
  const value = median(runs);
  return { ...measured(figure, runs, unit), goal: `<= ${limit}`, met: value <= limit };
}

/** A figure that must not be smaller than its goal. */
export function atLeast(figure: string, runs: readonly number[], limit: number, unit: string): Figure {
  const value = median(runs);
  return { ...measured(figure, runs, unit), goal: `>= ${limit}`, met: value >= limit };
}

/** A figure without a goal. */
export const published = (figure: string, runs: readonly number[], unit: string): Figure =>
  measured(figure, runs, unit);

/** A thing that must be so in every round. */
export function always(figure: string, runs: readonly boolean[], note?: string): Figure {
  const met = runs.every((run) => run);
  const plain = measured(
    figure,
    runs.map((run) => (run ? 1 : 0)),
    'of rounds',
  );
  const value = runs.filter((run) => run).length / runs.length;
  return { ...plain, value: rounded(value), goal: 'every round', met, ...(note === undefined ? {} : { note }) };
}

/** Stands where a figure should be that could not be measured. */
export const notMeasured = (figure: string, goal: string, note: string): Figure => ({
  figure,
  value: null,
  unit: '',
  goal,
  met: goal === '' ? null : false,
  runs: [],
  note,
});

function measured(figure: string, runs: readonly number[], unit: string): Figure {
  return { figure, value: rounded(median(runs)), unit, goal: '', met: null, runs: runs.map(rounded) };
}
