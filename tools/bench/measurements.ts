// Collects what is measured of each system, round by round, and makes cells, ratios and plots of it. It measures nothing.
import type { BarPlot, Cell } from './figure.ts';
import { pairedRatios, spreadOf } from './statistics.ts';

export interface Measurements {
  add(what: string, system: string, unit: string, value: number): void;
  runs(what: string, system: string): readonly number[];
  /** Round by round: `one` divided by `other`. */
  ratios(what: string, one: string, other: string): number[];
  cells(): Cell[];
  /** Bars of all systems, grouped by what was measured. */
  plot(name: string, title: string, unit: string, groups: readonly (readonly [label: string, what: string])[]): BarPlot;
}

export function measurements(): Measurements {
  const cells = new Map<string, { what: string; system: string; unit: string; runs: number[] }>();
  const runs = (what: string, system: string): readonly number[] => cells.get(`${what}\0${system}`)?.runs ?? [];
  return {
    add(what, system, unit, value) {
      const key = `${what}\0${system}`;
      const cell = cells.get(key) ?? { what, system, unit, runs: [] };
      cell.runs.push(value);
      cells.set(key, cell);
    },
    runs,
    ratios: (what, one, other) => pairedRatios(runs(what, one), runs(what, other)),
    cells: () => [...cells.values()],
    plot: (name, title, unit, groups) => ({
      kind: 'bars',
      name,
      title,
      unit,
      groups: groups.flatMap(([label, what]) => {
        const bars = [...cells.values()]
          .filter((cell) => cell.what === what)
          .map(({ system, runs }) => ({ system, ...spreadOf(runs) }));
        return bars.length === 0 ? [] : [{ label, bars }];
      }),
    }),
  };
}
