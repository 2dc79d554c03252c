/**
 * The runbook of a group: in which order its VMs are shut down at the source and powered on at the
 * destination, and what is waited for in between. Data and its checks only; the workflow carries it out.
 */
/** What a power-on step waits for before the next one begins. */
export const powerOnWaits = ['nothing', 'tools', 'address'] as const;
export type PowerOnWait = (typeof powerOnWaits)[number];

/** A step that did not come to its end in time: the order stops there, or goes on. */
export type OnStepFailure = 'stop' | 'go-on';

export interface RunbookStep {
  /** Members that are stopped or started together. */
  readonly members: readonly string[];
  /** Waited before the step begins. */
  readonly delaySeconds: number;
  /** How long the step may take. */
  readonly timeoutSeconds: number;
  readonly onFailure: OnStepFailure;
}

export interface PowerOnStep extends RunbookStep {
  readonly waitFor: PowerOnWait;
}

export interface Runbook {
  readonly shutDown: readonly RunbookStep[];
  readonly powerOn: readonly PowerOnStep[];
}

/** A place in the runbook that cannot be carried out. */
export interface RunbookFinding {
  /** JSON pointer within the runbook. */
  readonly pointer: string;
  readonly message: string;
}

export const emptyRunbook: Runbook = { shutDown: [], powerOn: [] };

/** Members that are not in the group, or stand in one order twice. */
export function checkRunbook(runbook: Runbook, members: readonly string[]): readonly RunbookFinding[] {
  return (['shutDown', 'powerOn'] as const).flatMap((order) => {
    const seen = new Set<string>();
    return runbook[order].flatMap((step, at) =>
      step.members.flatMap((member, index) => {
        const pointer = `/${order}/${at}/members/${index}`;
        const repeated = seen.has(member);
        seen.add(member);
        if (!members.includes(member)) return [{ pointer, message: `${member} is not a member of the group` }];
        return repeated ? [{ pointer, message: `${member} stands in this order already` }] : [];
      }),
    );
  });
}

/** The steps of the shut-down; members that no step names stop together at the end. */
export function shutDownSteps(
  runbook: Runbook,
  taking: readonly string[],
  timeoutSeconds: number,
): readonly RunbookStep[] {
  const steps = onlyTaking(runbook.shutDown, taking);
  const rest = taking.filter((member) => !steps.some((step) => step.members.includes(member)));
  if (rest.length === 0) return steps;
  const last = { members: rest, delaySeconds: 0, timeoutSeconds, onFailure: 'stop' } as const;
  return [...steps, last];
}

/** The steps of the power-on; members that no step names stay off. */
export function powerOnSteps(runbook: Runbook, taking: readonly string[]): readonly PowerOnStep[] {
  return onlyTaking(runbook.powerOn, taking);
}

/** The members that stay off at the end. */
export function stayingOff(runbook: Runbook, taking: readonly string[]): readonly string[] {
  const started = powerOnSteps(runbook, taking).flatMap((step) => step.members);
  return taking.filter((member) => !started.includes(member));
}

function onlyTaking<Step extends RunbookStep>(steps: readonly Step[], taking: readonly string[]): readonly Step[] {
  return steps
    .map((step) => ({ ...step, members: step.members.filter((member) => taking.includes(member)) }))
    .filter((step) => step.members.length > 0);
}
