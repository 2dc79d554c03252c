/**
 * The steps of one VM's migration as a table: what each does, how it is undone, how long and how often it is
 * tried, and what a person can do about it. Up to the hand-over a failure undoes in reverse; after it there is
 * only forward. The order is the walk in docs/architecture.md.
 */
import type { AllActivities, VmRef } from '../../contracts/activities.ts';
import { limits, type Step } from '../../core/index.ts';
import { steps, tireless } from './proxies.ts';

type Name = keyof AllActivities;

/** What every row says of itself; generic tests and the documentation are driven by it. */
export interface StepRow {
  readonly step: Step;
  /** Activities that do it, in order. */
  readonly does: readonly Name[];
  /** Activities that undo it, also half of it; none where nothing stays. */
  readonly undoneBy: readonly Name[];
  /** Which preset of temporal/activity-options.ts it runs under: retries and limits stand there. */
  readonly preset: 'step' | 'wait' | 'final' | 'tireless' | 'supervise';
  /** Who can help when it does not come to its end. */
  readonly helper:
    'vCenter at the destination' | 'vCenter at the source' | 'the network between the sites' | 'the guest';
}

export interface PreparingStep extends StepRow {
  readonly waitingFor?: string;
  /** Absent where the work is not one call: replication and final are followed elsewhere. */
  readonly run?: (ref: VmRef) => Promise<void>;
  /** Registered before `run` begins, so it also covers half of its effect. */
  readonly undo?: (ref: VmRef) => Promise<void>;
}

const destination = 'vCenter at the destination';
const source = 'vCenter at the source';
const network = 'the network between the sites';

export const preparingSteps: readonly PreparingStep[] = [
  {
    step: 'agentIso',
    does: ['ensureAgentIso'],
    undoneBy: [],
    preset: 'step',
    helper: destination,
    waitingFor: 'the agent ISO on the destination datastore',
    run: steps.ensureAgentIso,
  },
  {
    step: 'targetDisks',
    does: ['createTargetDisks'],
    undoneBy: ['deleteTargetDisks'],
    preset: 'step',
    helper: destination,
    run: steps.createTargetDisks,
    undo: tireless.deleteTargetDisks,
  },
  {
    step: 'configurationIso',
    does: ['uploadConfigurationIso'],
    undoneBy: ['deleteConfigurationIso'],
    preset: 'step',
    helper: destination,
    run: steps.uploadConfigurationIso,
    undo: tireless.deleteConfigurationIso,
  },
  {
    step: 'shadowVm',
    does: ['createShadowVm'],
    undoneBy: ['destroyShadowVm'],
    preset: 'step',
    helper: destination,
    run: steps.createShadowVm,
    undo: tireless.destroyShadowVm,
  },
  {
    step: 'powerOnShadowVm',
    does: ['powerOnShadowVm'],
    undoneBy: [],
    preset: 'step',
    helper: destination,
    run: steps.powerOnShadowVm,
  },
  {
    step: 'shadowVmIp',
    does: ['waitForShadowVmAddress'],
    undoneBy: [],
    preset: 'step',
    helper: network,
    waitingFor: 'the shadow VM to report its address',
    run: (ref) => steps.waitForShadowVmAddress({ ...ref, timeoutSeconds: limits.shadowVmAddressTimeoutSeconds }),
  },
  {
    step: 'enrolShadowVm',
    does: ['enrolShadowVm'],
    undoneBy: ['forgetShadowVm'],
    preset: 'step',
    helper: network,
    waitingFor: 'the receiver in the shadow VM to answer',
    run: steps.enrolShadowVm,
    undo: tireless.forgetShadowVm,
  },
  {
    step: 'storagePolicy',
    does: ['attachStoragePolicy'],
    undoneBy: ['detachStoragePolicy'],
    preset: 'step',
    helper: source,
    run: steps.attachStoragePolicy,
    undo: tireless.detachStoragePolicy,
  },
  {
    step: 'replicate',
    does: ['superviseReplication'],
    undoneBy: ['restoreSourcePower', 'stopReplication'],
    preset: 'supervise',
    helper: network,
    undo: async (ref) => {
      // A final that failed has left the source off, and was retried since.
      try {
        await tireless.restoreSourcePower(ref);
      } finally {
        await tireless.stopReplication(ref);
      }
    },
  },
  {
    step: 'shutDownGuest',
    does: ['stopSourceVm'],
    undoneBy: ['restoreSourcePower'],
    preset: 'wait',
    helper: 'the guest',
    undo: tireless.restoreSourcePower,
  },
  {
    step: 'freeze',
    does: ['freezeReplication'],
    undoneBy: ['unfreezeReplication'],
    preset: 'final',
    helper: network,
  },
];

/** The border: given up before it, the source is unfrozen; after it there is only forward. */
export const handOverStep: StepRow = {
  step: 'handOver',
  does: ['handOver'],
  undoneBy: ['unfreezeReplication'],
  preset: 'tireless',
  helper: network,
};

export interface ForwardStep extends StepRow {
  readonly run: (ref: VmRef) => Promise<void>;
}

const onlyForward = { undoneBy: [], preset: 'tireless' } as const;

/** After the hand-over, up to where the final VM stands ready to be powered on. */
export const buildingSteps: readonly ForwardStep[] = [
  {
    step: 'detachDisks',
    does: ['detachTargetDisks'],
    helper: destination,
    ...onlyForward,
    run: tireless.detachTargetDisks,
  },
  { step: 'finalVm', does: ['createFinalVm'], helper: destination, ...onlyForward, run: tireless.createFinalVm },
  { step: 'nvram', does: ['copyNvram'], helper: destination, ...onlyForward, run: tireless.copyNvram },
];

export const powerOnStep: ForwardStep = {
  step: 'powerOn',
  does: ['powerOnFinalVm'],
  helper: destination,
  ...onlyForward,
  run: tireless.powerOnFinalVm,
};

export const closingSteps: readonly ForwardStep[] = [
  { step: 'receipt', does: ['writeReceipt'], helper: network, ...onlyForward, run: tireless.writeReceipt },
  {
    step: 'destroyShadowVm',
    does: ['removeShadowVm'],
    helper: destination,
    ...onlyForward,
    run: tireless.removeShadowVm,
  },
  {
    step: 'detachPolicy',
    does: ['releaseSource'],
    helper: source,
    ...onlyForward,
    run: tireless.releaseSource,
  },
  { step: 'markSource', does: ['markSourceVm'], helper: source, ...onlyForward, run: tireless.markSourceVm },
];

const forwardSteps: readonly ForwardStep[] = [...buildingSteps, powerOnStep, ...closingSteps];

/** All of them, in order. */
export const stepRows: readonly StepRow[] = [...preparingSteps, handOverStep, ...forwardSteps];

/**
 * The steps after the hand-over that are still to be done by one that stands in `step`. They are entered strictly in order, so
 * what comes before has come to its end; all of them when it stands before them, or was being undone.
 */
export function forwardFrom(step: Step): readonly ForwardStep[] {
  const at = forwardSteps.findIndex((row) => row.step === step);
  return forwardSteps.slice(Math.max(0, at));
}

/** What has to be undone when the step `reached` was begun, in the order of undoing. */
export function undoneAfter(reached: Step): readonly PreparingStep[] {
  const last = preparingSteps.findIndex((row) => row.step === reached);
  const begun = reached === 'queued' ? [] : preparingSteps.slice(0, last === -1 ? undefined : last + 1);
  return begun.filter((row) => row.undo !== undefined).reverse();
}
