/**
 * The worker process: runs workflows and activities until it is told to stop. Any number of them may run, on any machine
 * that reaches the database, the workflow engine and the vCenters; killing one costs nothing but time.
 */
import { runWorker } from './run-worker.ts';

try {
  await runWorker();
} catch (error) {
  process.stderr.write(`The worker ended: ${error instanceof Error ? error.message : 'unknown reason'}\n`);
  process.exitCode = 1;
}
