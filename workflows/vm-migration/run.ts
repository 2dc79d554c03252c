/**
 * What one run of the workflow knows, and how it tells: records for people, search attributes and current
 * details for operators. It decides nothing about the order of steps.
 */
import { CancellationScope, setCurrentDetails, upsertSearchAttributes } from '@temporalio/workflow';
import type { VmMigrationFacts, VmRef } from '../../contracts/activities.ts';
import type { VmMigrationInput } from '../../contracts/workflows.ts';
import { stateOfStep, type FailureNote, type State, type Step } from '../../core/index.ts';
import { migGroup, migNeedsOperator, migPhase, migSite, migVm } from '../../temporal/index.ts';
import { records } from './proxies.ts';

export interface Run {
  readonly input: VmMigrationInput;
  readonly ref: VmRef;
  facts: VmMigrationFacts | undefined;
  /** The step that is under way. */
  step: Step;
  /** The last preparing step that was begun: what has to be undone. */
  reached: Step;
  /** Starts the final migration by itself; given up when a final was cancelled from outside. */
  autoFinal: boolean;
  ready: boolean;
  finalRequested: boolean;
  /** From the stop of the source until it is the destination's or the source's again. */
  finalUnderWay: boolean;
  /** From the hand-over on: only forward. */
  handingOver: boolean;
  terminateRequested: boolean;
  ended: boolean;
  /** Why the last final migration was given up; shown while waiting for the next. */
  lastRefusal: FailureNote | null;
  /** Cancels what may be cancelled now. */
  cancel: () => void;
}

export function startRun(input: VmMigrationInput): Run {
  return {
    input,
    ref: { vmMigrationId: input.vmMigrationId },
    facts: undefined,
    step: input.carry?.reached ?? 'queued',
    reached: input.carry?.reached ?? 'queued',
    autoFinal: input.carry?.autoFinal ?? false,
    ready: false,
    finalRequested: false,
    finalUnderWay: false,
    handingOver: false,
    terminateRequested: false,
    ended: false,
    lastRefusal: null,
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

export interface PhaseDetails {
  readonly state?: State;
  readonly waitingFor?: string;
  readonly reason?: FailureNote | null;
  readonly failure?: FailureNote & { readonly step: string };
}

/** Says everywhere where the migration is now. */
export async function enter(run: Run, step: Step, details: PhaseDetails = {}): Promise<void> {
  const { state = stateOfStep(step), waitingFor, reason, failure } = details;
  run.step = step;
  upsertSearchAttributes([
    { key: migPhase, value: state },
    { key: migNeedsOperator, value: failure !== undefined || (step === 'ready' && !run.autoFinal) },
  ]);
  setCurrentDetails(describe(run, state, details));
  await records.notePhase({
    ...run.ref,
    step,
    state,
    waitingFor: waitingFor ?? null,
    reason: reason ? { code: reason.code, message: reason.message } : null,
    ...(failure === undefined ? {} : { failure }),
  });
}

/** Labels that stay for the whole run. */
export function label(facts: VmMigrationFacts): void {
  upsertSearchAttributes([
    { key: migSite, value: facts.sourceSiteId },
    { key: migGroup, value: facts.migrationId },
    { key: migVm, value: facts.vmName },
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
