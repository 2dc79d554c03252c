/**
 * Finds and repairs what nobody carries on: migrations whose workflow was ended from outside, queues and groups that lost
 * theirs, and things that an ended migration left behind. One round; a schedule begins it again and again. It must not
 * touch what a running workflow is responsible for.
 */
import { log, proxyActivities, setCurrentDetails } from '@temporalio/workflow';
import type { JanitorActivities, Leftover } from '../contracts/activities.ts';
import type { JanitorResult } from '../contracts/workflows.ts';
import { janitorOptions, noteOf } from '../temporal/index.ts';
import { cleanUpAfter } from './vm-migration/clean-up.ts';

const janitors = proxyActivities<JanitorActivities>(janitorOptions);

export async function janitor(): Promise<JanitorResult> {
  let [adopted, restarted, cleaned, failed] = [0, 0, 0, 0];
  for (const orphan of await janitors.findOrphans()) {
    if (!(await janitors.adoptOrphan(orphan))) continue;
    adopted += 1;
    await janitors.noteRepair({
      targetId: orphan.vmMigrationId,
      what: 'its workflow had been ended; it is carried on',
    });
  }
  for (const migration of await janitors.findStrayMigrations()) {
    if (!(await janitors.restartMigration(migration))) continue;
    restarted += 1;
    await janitors.noteRepair({ targetId: migration.migrationId, what: 'its workflow had been ended; it runs again' });
  }
  for (const leftover of await janitors.findLeftovers()) {
    if (await isCleaned(leftover)) cleaned += 1;
    else failed += 1;
  }
  setCurrentDetails(`${adopted} adopted, ${restarted} restarted, ${cleaned} cleaned up, ${failed} failed.`);
  return { adopted, restarted, cleaned, failed };
}

/** What cannot be removed now is tried again by the next round. */
async function isCleaned(leftover: Leftover): Promise<boolean> {
  try {
    await cleanUpAfter(leftover);
    await janitors.noteRepair({ targetId: leftover.vmMigrationId, what: 'what it had left behind is removed' });
    return true;
  } catch (error) {
    log.warn('A leftover could not be removed', { vmMigrationId: leftover.vmMigrationId, code: noteOf(error).code });
    return false;
  }
}
