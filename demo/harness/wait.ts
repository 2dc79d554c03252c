// Waiting for something to become true, with a limit. For demo and tests.

/** Asks `look` every `intervalMs` until it returns something other than undefined; throws after `timeoutMs`. */
export async function waitFor<Found>(
  what: string,
  look: () => Promise<Found | undefined>,
  options: { readonly timeoutMs: number; readonly intervalMs?: number },
): Promise<Found> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) {
      throw new Error(`Waited ${String(options.timeoutMs / 1000)} s for ${what}, in vain`);
    }
    await pause(options.intervalMs ?? 200);
  }
}

/** Resolves after so many milliseconds. */
export function pause(durationMs: number): Promise<void> {
  return new Promise((done) => setTimeout(done, durationMs));
}
