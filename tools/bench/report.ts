// What people read of a result on the terminal. It decides nothing.
import type { Cell, Figure, SuiteResult } from './figure.ts';
import { rounded, spreadOf } from './statistics.ts';

export function verdict({ goal, met }: Figure): string {
  if (goal === '') return 'published';
  return met === true ? 'met' : 'missed';
}

/** Goal, value and spread of a figure as one line each. */
export function figureLine(figure: Figure): string {
  const { value, unit, goal, runs, note } = figure;
  const said = value === null ? 'not measured' : `${value} ${unit}`;
  const goalSaid = goal === '' ? '' : `, goal ${goal}`;
  const range = runs.length > 1 ? `, ${Math.min(...runs)} to ${Math.max(...runs)} in ${runs.length} rounds` : '';
  return `${verdict(figure).padEnd(9)} ${figure.figure}: ${said}${goalSaid}${range}${note === undefined ? '' : ` (${note})`}`;
}

export function cellLine({ what, system, unit, runs }: Cell): string {
  const { median, min, max } = spreadOf(runs);
  return `${what.padEnd(36)} ${system.padEnd(34)} ${String(rounded(median)).padStart(9)} ${unit} (${rounded(min)} to ${rounded(max)})`;
}

export function reportLines({ figures, cells, notes }: SuiteResult): string[] {
  return [...cells.map(cellLine), '', ...figures.map(figureLine), ...notes.map((note) => `note      ${note}`)];
}
