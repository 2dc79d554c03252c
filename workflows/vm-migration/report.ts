/** What a VM's migration tells the group or queue that it belongs to. */
import type { Message } from '../../contracts/activities.ts';
import type { MemberNews } from '../../contracts/workflows.ts';
import { memberReport } from '../messages.ts';
import { tell } from '../tell.ts';
import type { Run } from './run.ts';

export async function report(run: Run, news: MemberNews): Promise<void> {
  const { parentWorkflowId } = run.input;
  if (parentWorkflowId === undefined) return;
  await tell(parentWorkflowId, memberReport, { vmMigrationId: run.ref.vmMigrationId, news });
}

/** The same, for an activity that sends it when it has done its work: that costs the migration no turn. */
export function reportOf(run: Run, news: MemberNews): readonly Message[] {
  const { parentWorkflowId } = run.input;
  if (parentWorkflowId === undefined) return [];
  const args = [{ vmMigrationId: run.ref.vmMigrationId, news }];
  return [{ workflowId: parentWorkflowId, signal: memberReport.name, args }];
}
