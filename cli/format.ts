// Numbers, times and tables as people read them: binary units, plain text, no colour where nobody looks. Pure.
const binaryUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

export function formatBytes(count: string | number | null | undefined): string {
  if (count === null || count === undefined) return '-';
  let value = Number(count);
  let unit = 0;
  while (value >= 1024 && unit < binaryUnits.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${binaryUnits[unit]}`;
}

export function formatRate(bytesPerSecond: number | null | undefined): string {
  return bytesPerSecond === null || bytesPerSecond === undefined ? '-' : `${formatBytes(bytesPerSecond)}/s`;
}

export function formatSeconds(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return '-';
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`;
}

export function formatTime(iso: string | null | undefined): string {
  return iso === null || iso === undefined ? '-' : iso.replace('T', ' ').replace(/\.\d+Z$/, 'Z');
}

/** `[#########-----------]` of a width, for a share between 0 and 1. */
export function progressBar(share: number, width = 30): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width);
  return `[${'#'.repeat(filled)}${'-'.repeat(width - filled)}]`;
}

/** Columns as wide as their widest cell; the last one is never padded. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[]): string =>
    cells.map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  ');
  return [line(headings.map((heading) => heading.toUpperCase())), ...rows.map(line)].join('\n');
}

const sizePattern = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(b?)(?:\/s)?$/i;

/** `8MB/s`, `25000000`, `10 MiB/s` to whole bytes per second as decimal text; undefined when it is none of these. */
export function parseByteRate(text: string): string | undefined {
  const [, digits, prefix = '', binary] = sizePattern.exec(text.trim()) ?? [];
  if (digits === undefined) return undefined;
  const power = ['', 'k', 'm', 'g', 't'].indexOf(prefix.toLowerCase());
  const bytes = Math.round(Number(digits) * (binary === '' ? 1_000 : 1_024) ** power);
  return Number.isSafeInteger(bytes) ? String(bytes) : undefined;
}
