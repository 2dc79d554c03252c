/** Says how a group stands: records for people, search attributes and current details for operators. */
import { setCurrentDetails, upsertSearchAttributes, proxyLocalActivities } from '@temporalio/workflow';
import type { RecordsActivities } from '../../contracts/activities.ts';
import type { GroupView } from '../../core/index.ts';
import { migNeedsOperator, migPhase, migWaitsFor, recordsOptions } from '../../temporal/index.ts';
import { viewOf, type Group } from './group.ts';

const records = proxyLocalActivities<RecordsActivities>(recordsOptions);

/** Writes only what changed: labels and records are events of the history. */
export async function note(group: Group, waits: string | null): Promise<void> {
  show(group, waits);
  const reason = group.lastTrouble;
  const text = JSON.stringify([waits, reason, group.paused]);
  if (text === group.noted) return;
  await records.noteMigration({
    migrationId: group.input.migrationId,
    reason: reason === null ? null : { code: reason.code, message: `${reason.message}. ${reason.remedy}` },
    waitingFor: waits,
    paused: group.paused,
  });
  group.noted = text;
}

/** Labels are never encrypted, so no member is named in them. */
function withoutNames(waitingFor: string | null, view: GroupView): string | null {
  if (waitingFor === null || waitingFor !== view.waitingFor) return waitingFor;
  return view.undecided.length > 0 ? 'a decision about a member' : 'its members';
}

function show(group: Group, waitingFor: string | null): void {
  const view = viewOf(group);
  const needsOperator = view.undecided.length > 0 || view.waitingFor === null;
  const waitsFor = withoutNames(waitingFor, view);
  const labels = JSON.stringify([view.status, waitsFor, needsOperator]);
  if (labels !== group.labelled) {
    upsertSearchAttributes([
      { key: migPhase, value: view.status },
      { key: migWaitsFor, value: waitsFor },
      { key: migNeedsOperator, value: needsOperator },
    ]);
    group.labelled = labels;
  }
  const lines = [...group.members.values()].map(({ name, status }) => `- ${name}: ${status}`);
  const waits = waitingFor === null ? 'Waits for nothing.' : `Waits for ${waitingFor}.`;
  setCurrentDetails(`**${view.status}**\n\n${waits}\n\n${lines.join('\n')}`);
}
