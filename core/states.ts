/**
 * The status and state words of a migration (product table M) and the steps that lead through them, as
 * data. Documents and screens are drawn from these tables. It must not decide what happens next.
 */
export const statuses = [
  'Queued',
  'Initializing',
  'Not Running',
  'Running',
  'Ready To Migrate',
  'Final Migration',
  'Completed',
  'Terminated',
  'Failed',
  'Aborted',
] as const;
export type Status = (typeof statuses)[number];

/** Every state with the status it belongs to. */
export const stateTable = {
  'Task Queued': 'Queued',
  'Creating shadow VM': 'Initializing',
  'Powering on shadow VM': 'Initializing',
  'Waiting for shadow VM IP': 'Initializing',
  'Apply Storage Policy': 'Initializing',
  'Waiting for data': 'Not Running',
  'Replicating disks': 'Running',
  'Ready for final migration': 'Ready To Migrate',
  'Performing final migration': 'Final Migration',
  'Destroying Shadow VM': 'Final Migration',
  'Job complete': 'Completed',
  Terminated: 'Terminated',
  Failed: 'Failed',
  Aborted: 'Aborted',
} as const satisfies Record<string, Status>;
export type State = keyof typeof stateTable;

/** The steps of one VM's migration in order, with the state that is shown while each runs. */
export const stepTable = [
  { step: 'queued', state: 'Task Queued' },
  { step: 'agentIso', state: 'Creating shadow VM' },
  { step: 'targetDisks', state: 'Creating shadow VM' },
  { step: 'configurationIso', state: 'Creating shadow VM' },
  { step: 'shadowVm', state: 'Creating shadow VM' },
  { step: 'powerOnShadowVm', state: 'Powering on shadow VM' },
  { step: 'shadowVmIp', state: 'Waiting for shadow VM IP' },
  { step: 'enrolShadowVm', state: 'Waiting for shadow VM IP' },
  { step: 'storagePolicy', state: 'Apply Storage Policy' },
  { step: 'replicate', state: 'Replicating disks' },
  { step: 'ready', state: 'Ready for final migration' },
  { step: 'shutDownGuest', state: 'Performing final migration' },
  { step: 'freeze', state: 'Performing final migration' },
  { step: 'handOver', state: 'Performing final migration' },
  { step: 'detachDisks', state: 'Performing final migration' },
  { step: 'finalVm', state: 'Performing final migration' },
  { step: 'nvram', state: 'Performing final migration' },
  { step: 'powerOn', state: 'Performing final migration' },
  { step: 'receipt', state: 'Performing final migration' },
  { step: 'destroyShadowVm', state: 'Destroying Shadow VM' },
  { step: 'detachPolicy', state: 'Destroying Shadow VM' },
  { step: 'markSource', state: 'Destroying Shadow VM' },
  { step: 'unwind', state: 'Destroying Shadow VM' },
  { step: 'ended', state: 'Job complete' },
] as const satisfies readonly { step: string; state: State }[];
export type Step = (typeof stepTable)[number]['step'];

/** What is shown per disk while its background replication goes on. */
export const backgroundStates = ['Pending', 'Comparing', 'Replicating', 'Paused', 'Complete'] as const;
export type BackgroundState = (typeof backgroundStates)[number];

const endedStatuses: readonly Status[] = ['Completed', 'Terminated', 'Failed', 'Aborted'];

/** Whether nothing more happens by itself in this status. */
export function isEnded(status: Status): boolean {
  return endedStatuses.includes(status);
}

export function stateOfStep(step: Step): State {
  const row = stepTable.find((candidate) => candidate.step === step);
  if (row === undefined) throw new TypeError(`Unknown step ${step}`);
  return row.state;
}

/** Whether a step is `first` or comes after it. */
export function isFrom(step: Step, first: Step): boolean {
  const at = (wanted: Step): number => stepTable.findIndex((row) => row.step === wanted);
  return at(step) >= at(first);
}

export function statusOf(state: State): Status {
  return stateTable[state];
}

/** The status of a whole migration: that of its least advanced member that still takes part. */
export function statusOfMembers(members: readonly Status[]): Status {
  const taking = members.filter((status) => !isEnded(status) || status === 'Completed');
  const left = statuses.find((status) => taking.includes(status));
  if (left !== undefined) return left;
  return members.find((status) => status !== 'Terminated') ?? 'Terminated';
}
