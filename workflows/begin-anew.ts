/**
 * When a workflow begins with an empty history, and how: the next run asks for the current version of the program, wherever this
 * one was pinned to. Not every server grants it: Temporal 1.29 leaves the run with its old version, and so does any server where an
 * operator has pinned the run. What is carried is the caller's business, and so is that nothing is under way.
 */
import { makeContinueAsNewFunc, workflowInfo, type Workflow } from '@temporalio/workflow';

/** In the memo of a run: the version that the run before it was to leave. */
const leftVersion = 'leftVersion';

/** What a workflow knows of its history: whether it was long when it was looked at last. */
export interface LongWhenLooked {
  long: boolean;
}

/**
 * Looks whether the history has become long. Called where an activity has come to its end or a signal came, never for an update
 * that came just now: what the server says with that need not be what the history says of it later, and then it could not be
 * replayed.
 */
export function lookIfLong(state: LongWhenLooked, eventsMax: number): void {
  state.long = shouldBeginAnew(eventsMax);
}

/** The history is long, or this run is pinned to a version that is not the current one any more. */
export function shouldBeginAnew(eventsMax: number): boolean {
  const { continueAsNewSuggested, historyLength } = workflowInfo();
  return continueAsNewSuggested || historyLength >= eventsMax || canLeaveVersion();
}

export async function beginAnew<Run extends Workflow>(...input: Parameters<Run>): Promise<never> {
  const { targetWorkerDeploymentVersionChanged, currentDeploymentVersion } = workflowInfo();
  const left = targetWorkerDeploymentVersionChanged ? currentDeploymentVersion?.buildId : undefined;
  return makeContinueAsNewFunc<Run>({
    initialVersioningBehavior: 'AUTO_UPGRADE',
    ...(left === undefined ? {} : { memo: { [leftVersion]: left } }),
  })(...input);
}

/** A run that was left with the version that it was to leave would begin anew again and again: it waits for a long history. */
function canLeaveVersion(): boolean {
  const { targetWorkerDeploymentVersionChanged, currentDeploymentVersion, memo } = workflowInfo();
  return targetWorkerDeploymentVersionChanged && memo?.[leftVersion] !== currentDeploymentVersion?.buildId;
}
