/**
 * A retry with changed settings, another place at the destination among them: what was built at the old place is undone
 * before the steps run again at the new one. Data that are there already are never given up for it.
 */
import type { RetryChange } from '../../contracts/workflows.ts';
import { refusal } from '../../temporal/index.ts';
import { records } from './proxies.ts';
import { cancellable, enter, type Run } from './run.ts';
import { preparingSteps, undoneAfter } from './steps.ts';

/** Throws PHASE_DISALLOWS when the change would leave data behind. */
export function refuseLosingData(run: Run, change: RetryChange | undefined): void {
  if (!hasData(run) || !isElsewhere(run, change)) return;
  throw refusal(
    'PHASE_DISALLOWS',
    'Data are at the destination already and cannot be taken along. Retry it without another cluster or datastore, or terminate it and start it there',
  );
}

/** Throws when something of the old place could not be undone: then the old place is still the plan. */
export async function takeChange(run: Run, change: RetryChange | undefined): Promise<void> {
  if (change === undefined) return;
  const rebuilds = change.destination !== undefined && !hasData(run);
  if (rebuilds) await undoOldPlace(run);
  await records.noteChangedPlan({ ...run.ref, ...change, rebuilds });
}

/** Half undone, all steps have to run again, wherever that will be. */
async function undoOldPlace(run: Run): Promise<void> {
  const begun = undoneAfter(run.reached);
  run.done.clear();
  await enter(run, run.step, { waitingFor: 'what was built at the old place to be removed' });
  await cancellable(run, async () => {
    for (const { undo } of begun) await undo?.(run.ref);
  });
  run.reached = 'queued';
}

/** From the first copied byte on. Networks can still be changed then: the final VM is not built yet. */
function hasData({ reached }: Run): boolean {
  const at = preparingSteps.findIndex(({ step }) => step === reached);
  return at >= preparingSteps.findIndex(({ step }) => step === 'replicate');
}

function isElsewhere({ facts }: Run, change: RetryChange | undefined): boolean {
  const wanted = change?.destination;
  if (wanted === undefined || facts === undefined) return false;
  const { clusterMoref, datastoreMoref } = facts.place;
  return wanted.clusterMoref !== clusterMoref || wanted.datastoreMoref !== datastoreMoref;
}
