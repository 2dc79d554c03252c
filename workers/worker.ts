/**
 * The worker process: runs workflows and activities until it is told to stop. Any number of them may run, on any machine
 * that reaches the database, the workflow engine and the vCenters; killing one costs nothing but time.
 */
import './workflow-threads.ts';
import { parseArgs } from 'node:util';
import { makeActivities } from '../activities/index.ts';
import { isMigrationError } from '../core/index.ts';
import { runWorker } from './run-worker.ts';

const help = `landfall worker: runs migrations of the installation that LANDFALL_HOME, DATABASE_URL and TEMPORAL_ADDRESS name.

  --pinned     migrations stay with the version of Landfall that began them (docs/upgrade.md)
  --current    with --pinned: new migrations begin with this worker's version
`;

try {
  const { values } = parseArgs({
    options: {
      pinned: { type: 'boolean', default: false },
      current: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) process.stdout.write(help);
  else await runWorker(makeActivities, values);
} catch (error) {
  const remedy = isMigrationError(error) ? `\nRemedy: ${error.remedy}` : '';
  process.stderr.write(`The worker ended: ${error instanceof Error ? error.message : 'unknown reason'}${remedy}\n`);
  process.exitCode = 1;
}
