// Says in plain words what the demo does. On a terminal a progress bar redraws itself; elsewhere it prints a line now
// and then. It only prints: no decision is taken here.

const BAR_WIDTH_CHARACTERS = 28;
/** Off a terminal a bar prints one line per so many percent. */
const PLAIN_STEP_PERCENT = 10;

/** Where the demo's words go. With `quiet` (used with --json -) nothing is printed. */
export class Narrator {
  private readonly startedAt = performance.now();
  private barOpen = false;
  private lastPlainPercent = -PLAIN_STEP_PERCENT;
  private lastPlainState = '';
  private readonly output: NodeJS.WriteStream;

  constructor(output: NodeJS.WriteStream) {
    this.output = output;
  }

  /** A new chapter. */
  chapter(title: string): void {
    this.closeBar();
    const seconds = ((performance.now() - this.startedAt) / 1000).toFixed(0).padStart(4);
    this.output.write(`\n${seconds} s  ${this.bold(title)}\n`);
  }

  /** One sentence within a chapter. */
  say(text: string): void {
    this.closeBar();
    this.output.write(`        ${text}\n`);
  }

  /** A proof that held or did not. */
  proof(held: boolean, text: string): void {
    this.closeBar();
    const mark = held ? this.colour(32, 'proven') : this.colour(31, 'FAILED');
    this.output.write(`        [${mark}] ${text}\n`);
  }

  /** A table with one header row; columns are padded to their widest cell. */
  table(rows: readonly (readonly string[])[]): void {
    this.closeBar();
    const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
    for (const row of rows) {
      this.output.write(
        `        ${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
      );
    }
  }

  /** Progress from 0 to 100 with the state and a few words beside it. */
  progress(percent: number, state: string, words: string): void {
    const whole = Math.max(0, Math.min(100, Math.floor(percent)));
    const filled = Math.round((whole / 100) * BAR_WIDTH_CHARACTERS);
    const bar = `${'█'.repeat(filled)}${'░'.repeat(BAR_WIDTH_CHARACTERS - filled)} ${String(whole).padStart(3)} %  ${state}${words === '' ? '' : `, ${words}`}`;
    if (this.output.isTTY) {
      this.output.write(`\r\u001b[2K        ${bar}`);
      this.barOpen = true;
      return;
    }
    const moved = whole >= this.lastPlainPercent + PLAIN_STEP_PERCENT || state !== this.lastPlainState;
    if (!moved) return;
    this.lastPlainPercent = whole;
    this.lastPlainState = state;
    this.output.write(`        ${bar}\n`);
  }

  /** Ends a bar so that the next one starts from the left again. */
  closeBar(): void {
    if (this.barOpen) this.output.write('\n');
    this.barOpen = false;
  }

  private bold(text: string): string {
    return this.output.isTTY ? `\u001b[1m${text}\u001b[0m` : text;
  }

  private colour(code: number, text: string): string {
    return this.output.isTTY ? `\u001b[${String(code)}m${text}\u001b[0m` : text;
  }
}

/** 1536 -> "1.5 KiB". Binary units, as on every screen of the product. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? value.toFixed(0) : value.toFixed(1)} ${units[unit] ?? ''}`;
}
