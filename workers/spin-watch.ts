/**
 * Ends a worker in which a workflow's code runs without a pause, and has the next life of the worker watch each call by itself, so that
 * the workflow fails alone from then on. It must not look into what runs.
 */
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Odd while a call into the sandbox runs: its one number is raised at the beginning and at the end of each. */
export type Calls = Int32Array<SharedArrayBuffer>;

const lookEveryMs = 1000;
/** Looks that find the same call running; counted, so that a machine that slept is not taken for a workflow that spins. */
const looksMax = 5;
/** After so long without a further one each call is not watched by itself any more. */
const callByCallMs = 24 * 3_600_000;

/** What says to the next life that a workflow spun; undefined where there is no home to keep it in. */
function noteFile(): string | undefined {
  const home = process.env['LANDFALL_HOME'];
  return home === undefined || home === '' ? undefined : join(home, 'run', 'workflow-spun');
}

/** Whether a workflow spun here lately, or nothing could be said to the next life if one did. */
export function isWatchedCallByCall(): boolean {
  const file = noteFile();
  if (file === undefined) return true;
  const spunAtMs = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  return Date.now() - spunAtMs < callByCallMs;
}

/** Watches a thread that is given the counter by `share`; returns what ends it. */
export function watchThread(share: (calls: Calls) => void): () => void {
  const calls = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  share(calls);
  let seen = 0;
  let looks = 0;
  const timer = setInterval(() => {
    const now = Atomics.load(calls, 0);
    looks = now === seen && now % 2 !== 0 ? looks + 1 : 0;
    seen = now;
    if (looks >= looksMax) endSpinning();
  }, lookEveryMs);
  timer.unref();
  return () => {
    clearInterval(timer);
  };
}

function endSpinning(): never {
  // Said first: the disk may be full.
  process.stderr.write(
    `The worker ended: a workflow ran for ${looksMax} s without a pause\n` +
      'Remedy: It starts again and fails that workflow alone; "Failing workflow task" in this log has its run id then. Report it as a bug.\n',
  );
  const file = noteFile();
  if (file !== undefined) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${new Date().toISOString()}\n`);
  }
  process.exit(1);
}
