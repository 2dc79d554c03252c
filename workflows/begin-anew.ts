/**
 * When a workflow begins with an empty history, and how: the next run goes to the current version of the program, wherever this
 * one was pinned to. What is carried is the caller's business, and so is that nothing is under way.
 */
import { makeContinueAsNewFunc, workflowInfo, type Workflow } from '@temporalio/workflow';

/** The history is long, or this run is pinned to a version that is not the current one any more. */
export function shouldBeginAnew(eventsMax: number): boolean {
  const { continueAsNewSuggested, historyLength, targetWorkerDeploymentVersionChanged } = workflowInfo();
  return continueAsNewSuggested || targetWorkerDeploymentVersionChanged || historyLength >= eventsMax;
}

export async function beginAnew<Run extends Workflow>(...input: Parameters<Run>): Promise<never> {
  return makeContinueAsNewFunc<Run>({ initialVersioningBehavior: 'AUTO_UPGRADE' })(...input);
}
