/** One measured figure, as `--json` writes it. */

export interface Figure {
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  readonly goal: string;
  readonly met: boolean;
  /** Every single measurement; `value` is their median. */
  readonly runs: readonly number[];
}

/** A figure that must not be larger than its goal. */
export function atMost(figure: string, runs: readonly number[], limit: number, unit: string): Figure {
  const sorted = [...runs].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  if (median === undefined) throw new Error(`${figure}: nothing was measured`);
  const rounded = runs.map((run) => Number(run.toFixed(2)));
  return { figure, value: Number(median.toFixed(2)), unit, goal: `<= ${limit}`, met: median <= limit, runs: rounded };
}
