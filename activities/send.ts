/** A signal to a workflow, from an activity. It may be sent twice: every receiver bears that. */
import { getClient } from '@temporalio/activity';
import { WorkflowNotFoundError } from '@temporalio/client';
import type { Message } from '../contracts/activities.ts';

/** Returns false when nobody is there to hear it. */
export async function send({ workflowId, signal, args }: Message): Promise<boolean> {
  try {
    await getClient()
      .workflow.getHandle(workflowId)
      .signal(signal, ...args);
    return true;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}
