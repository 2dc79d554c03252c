/** How long to wait before a part that died is started again. Pure; it must not look at a clock. */

const firstMs = 250;
const longestMs = 10_000;

/** Running this long means that the part works: the next failure is a new story. */
export const healthyAfterMs = 30_000;

/** `failures` in a row, the present one included. */
export function restartDelayMs(failures: number): number {
  return Math.min(longestMs, firstMs * 2 ** Math.max(0, failures - 1));
}
