/** Signals between our workflows. A receiver that is gone is no failure: whoever needs the news finds it in the records. */
import { getExternalWorkflowHandle, log, type SignalDefinition } from '@temporalio/workflow';

/** Returns whether it was delivered. */
export async function tell<Args extends [unknown?]>(
  workflowId: string,
  message: SignalDefinition<Args>,
  ...args: Args
): Promise<boolean> {
  try {
    await getExternalWorkflowHandle(workflowId).signal(message, ...args);
    return true;
  } catch {
    log.info('The workflow to be told is gone', { workflowId, message: message.name });
    return false;
  }
}
