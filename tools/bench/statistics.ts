// Medians, quantiles and paired ratios of a few measurements. No measuring and no printing here.

/** Linear interpolation between the two nearest; `q` from 0 to 1. Throws when nothing was measured. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  if (low === undefined || high === undefined) throw new Error('nothing was measured');
  return low + (high - low) * (at - Math.floor(at));
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/**
 * Ours divided by the peer's, round by round: what slows the machine for a while hits both halves of a round, so the ratio of
 * a round is steadier than the ratio of two medians.
 */
export function pairedRatios(ours: readonly number[], peers: readonly number[]): number[] {
  if (ours.length !== peers.length) throw new Error(`${ours.length} measurements of ours, ${peers.length} of the peer`);
  return ours.map((value, round) => {
    const peer = peers[round] ?? Number.NaN;
    if (!(peer > 0)) throw new Error(`the peer's measurement of round ${round + 1} is ${peer}`);
    return value / peer;
  });
}

/** Four significant digits: more would say more than was measured. */
export const rounded = (value: number): number => Number(value.toPrecision(4));

export interface Sample {
  readonly seconds: number;
  readonly bytes: number;
}

/** Bytes counted until `seconds`, between the samples in proportion. */
export function countedAt(samples: readonly Sample[], seconds: number): number {
  const after = samples.findIndex((sample) => sample.seconds >= seconds);
  const [next, before] = [samples[after], samples[after - 1]];
  if (next === undefined) return samples.at(-1)?.bytes ?? 0;
  if (before === undefined) return next.bytes;
  const share = (seconds - before.seconds) / (next.seconds - before.seconds);
  return before.bytes + (next.bytes - before.bytes) * share;
}

/** Bytes per second over windows of `windowSeconds` that begin every `stepSeconds`; each stands at its beginning. */
export function windowRates(samples: readonly Sample[], windowSeconds: number, stepSeconds: number): Sample[] {
  const [first, last] = [samples[0], samples.at(-1)];
  const rates: Sample[] = [];
  if (first === undefined || last === undefined) return rates;
  const count = Math.floor((last.seconds - first.seconds - windowSeconds) / stepSeconds + 1e-9);
  for (let step = 0; step <= count; step += 1) {
    const seconds = first.seconds + step * stepSeconds;
    const bytes = countedAt(samples, seconds + windowSeconds) - countedAt(samples, seconds);
    rates.push({ seconds, bytes: bytes / windowSeconds });
  }
  return rates;
}

/**
 * The first moment from which on the count follows `goal` bytes per second: over any time from there it is off by no more than
 * `tolerance` of what is due and `pieceBytes`, the size of what is sent in one piece. Undefined when it never does.
 */
export function settledAfter(
  samples: readonly Sample[],
  goal: number,
  tolerance: number,
  pieceBytes: number,
): number | undefined {
  return samples.find((from, index) => {
    const later = samples.slice(index + 1);
    return (
      later.length > 0 &&
      later.every(({ seconds, bytes }) => {
        const due = goal * (seconds - from.seconds);
        return Math.abs(bytes - from.bytes - due) <= due * tolerance + pieceBytes;
      })
    );
  })?.seconds;
}
