/** What a VM's migration tells the group or queue that it belongs to. */
import type { MemberNews } from '../../contracts/workflows.ts';
import { memberReport } from '../messages.ts';
import { tell } from '../tell.ts';
import type { Run } from './run.ts';

export async function report(run: Run, news: MemberNews): Promise<void> {
  const { parentWorkflowId } = run.input;
  if (parentWorkflowId === undefined) return;
  await tell(parentWorkflowId, memberReport, { vmMigrationId: run.ref.vmMigrationId, news });
}
