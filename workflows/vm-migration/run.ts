/**
 * What one run of the workflow knows, and how it tells: records for people, search attributes and current
 * details for operators. It decides nothing about the order of steps.
 */
import { CancellationScope, condition, setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { AfterWork, PhaseNote, VmMigrationFacts, VmRef } from '../../contracts/activities.ts';
import type { FinalOrder, RetryCommand, VmMigrationInput } from '../../contracts/workflows.ts';
import { siteToResume, stateOfStep, type FailureNote, type State, type Step } from '../../core/index.ts';
import {
  migGroup,
  migNeedsOperator,
  migPhase,
  migSite,
  migVm,
  migWaitsFor,
  noteOf,
  pausedSiteOf,
} from '../../temporal/index.ts';
import { records } from './proxies.ts';

export interface Run {
  readonly input: VmMigrationInput;
  readonly ref: VmRef;
  facts: VmMigrationFacts | undefined;
  /** The step that is under way. */
  step: Step;
  /** The last preparing step that was begun: what has to be undone. */
  reached: Step;
  /** Preparing steps that came to their end. */
  readonly done: Set<Step>;
  /** A final was cancelled from outside: only a person begins the next, and the destination stays off. */
  onlyByHand: boolean;
  paused: boolean;
  /** Somebody said that a site was resumed. */
  siteNews: boolean;
  /** Why it stands still after a failure. */
  failed: FailureNote | null;
  retryRequested: RetryCommand | null;
  admitted: boolean;
  /** It has claimed as it began, and whether that was heard. */
  claim: boolean | null;
  ready: boolean;
  /** The records say already that it replicates. */
  replicationNoted: boolean;
  finalRequested: boolean;
  /** The newest order of the group. */
  order: FinalOrder | null;
  /** From the stop of the source until it is the destination's or the source's again. */
  finalUnderWay: boolean;
  /** From the hand-over on: only forward. */
  handingOver: boolean;
  terminateRequested: boolean;
  /** Its history was long when it was looked at last (`renew.ts`). */
  long: boolean;
  ended: boolean;
  /** Search attributes as they were written last. */
  readonly labels: Map<string, unknown>;
  /** Why the last final migration was given up; shown while waiting for the next. */
  lastRefusal: FailureNote | null;
  /** Cancels what may be cancelled now. */
  cancel: () => void;
}

export function startRun(input: VmMigrationInput): Run {
  const { carry } = input;
  return {
    input,
    ref: { vmMigrationId: input.vmMigrationId },
    facts: undefined,
    step: carry?.reached ?? 'queued',
    reached: carry?.reached ?? 'queued',
    done: new Set(),
    onlyByHand: carry?.onlyByHand ?? false,
    paused: carry?.paused ?? false,
    siteNews: false,
    failed: null,
    retryRequested: null,
    admitted: input.inGroup === true || carry !== undefined,
    claim: null,
    ready: false,
    replicationNoted: false,
    finalRequested: false,
    order: carry?.version === 3 ? carry.order : null,
    finalUnderWay: false,
    handingOver: false,
    terminateRequested: false,
    long: false,
    ended: false,
    labels: new Map(),
    lastRefusal: carry?.version === 3 ? carry.lastRefusal : null,
    cancel: () => undefined,
  };
}

/** Runs work that a terminate may cancel; the hand-over and everything after it runs outside. */
export async function cancellable<T>(run: Run, work: () => Promise<T>): Promise<T> {
  const scope = new CancellationScope({ cancellable: true });
  run.cancel = () => scope.cancel();
  if (run.terminateRequested) scope.cancel();
  try {
    return await scope.run(work);
  } finally {
    run.cancel = () => undefined;
  }
}

/** Between steps: stands still while a person wants that. */
export async function holdWhilePaused(run: Run): Promise<void> {
  if (!run.paused) return;
  await enter(run, run.step, {
    state: 'Waiting for data',
    reason: { code: 'PAUSED', message: 'The migration is paused', remedy: 'Resume it.' },
    waitingFor: 'the migration to be resumed',
  });
  await condition(() => !run.paused);
}

/**
 * Does a step as soon as no site of it is paused. Its activity says that it begins and looks which are; a word that one was
 * resumed only makes it look again, and comes until it has. `more` goes to the activity as it is.
 */
export async function doStep(
  run: Run,
  step: Step,
  details: PhaseDetails,
  work: (ref: VmRef) => Promise<void>,
  more: AfterWork = {},
): Promise<void> {
  for (;;) {
    run.siteNews = false;
    try {
      await work({ ...run.ref, ...more, note: phaseNote(run, step, { ...details, mayWait: true }) });
      return;
    } catch (error) {
      const site = pausedSiteOf(error);
      if (site === null) throw error;
      await enter(run, step, { state: 'Waiting for data', reason: noteOf(error), waitingFor: siteToResume(site) });
    }
    await condition(() => run.siteNews);
  }
}

export interface PhaseDetails {
  readonly state?: State;
  readonly waitingFor?: string;
  readonly reason?: { readonly code: string; readonly message: string; readonly remedy: string } | null;
  readonly failure?: (FailureNote & { readonly step: string }) | null;
  /** A person has to act before it goes on. */
  readonly needsOperator?: boolean;
  /** The step has not begun: it waits when one of its sites is paused. */
  readonly mayWait?: boolean;
}

/** Says everywhere where the migration is now. */
export async function enter(run: Run, step: Step, details: PhaseDetails = {}): Promise<void> {
  await records.notePhase(phaseNote(run, step, details));
}

/** Says it to operators at once; the note for the records is given to whoever writes it. */
export function phaseNote(run: Run, step: Step, details: PhaseDetails = {}): PhaseNote {
  showPhase(run, step, details);
  return recordOf(run, step, details);
}

/** Says it to operators: the records know it already. */
export function showPhase(run: Run, step: Step, details: PhaseDetails = {}): void {
  const { state = stateOfStep(step) } = details;
  run.step = step;
  labelPhase(run, state, details);
  setCurrentDetails(describe(run, state, details));
}

/** The note alone, for an activity that writes it when it has done its work; then comes `showPhase`. */
export function recordOf(run: Run, step: Step, details: PhaseDetails = {}): PhaseNote {
  const { state = stateOfStep(step), waitingFor, reason, failure, mayWait } = details;
  return {
    ...run.ref,
    step,
    state,
    waitingFor: waitingFor ?? null,
    reason: reason ? { code: reason.code, message: reason.message } : null,
    ...(failure === undefined ? {} : { failure }),
    ...(mayWait === undefined ? {} : { mayWait }),
  };
}

type Label = Extract<Parameters<typeof upsertSearchAttributes>[0], readonly unknown[]>[number];

/** Each change of a label is an event of the history: only what differs is written. */
function labelPhase(run: Run, state: State, { needsOperator, failure, waitingFor, reason }: PhaseDetails): void {
  const labels: readonly Label[] = [
    { key: migPhase, value: state },
    { key: migNeedsOperator, value: needsOperator === true || Boolean(failure) },
    { key: migWaitsFor, value: (reason?.code === 'SITE_PAUSED' ? 'a site to be resumed' : waitingFor) ?? null },
  ];
  const changed = labels.filter(({ key, value }) => run.labels.get(key.name) !== value);
  for (const { key, value } of changed) run.labels.set(key.name, value);
  if (changed.length > 0) upsertSearchAttributes([...changed]);
}

/** Labels that stay for the whole run. */
export function label(facts: VmMigrationFacts): void {
  upsertSearchAttributes([
    { key: migSite, value: facts.sourceSiteId },
    { key: migGroup, value: facts.migrationId },
    { key: migVm, value: facts.vmInstanceUuid },
  ]);
}

function describe(run: Run, state: State, details: PhaseDetails): string {
  const name = run.facts?.vmName ?? run.ref.vmMigrationId;
  const trouble = details.failure ?? details.reason;
  const lines = [`**${name}**: ${state} (step \`${run.step}\`)`];
  if (details.waitingFor !== undefined) lines.push(`Waits for ${details.waitingFor}.`);
  if (trouble) lines.push(`${trouble.message}. ${trouble.remedy}`);
  return lines.join('\n\n');
}
