/**
 * The steps of one VM's migration as a table: what each does and how it is undone. Up to the hand-over a
 * failure undoes in reverse; after it there is only forward. The order is the walk in docs/architecture.md.
 */
import type { VmRef } from '../../contracts/activities.ts';
import { limits, type Step } from '../../core/index.ts';
import { steps, tireless } from './proxies.ts';

export interface PreparingStep {
  readonly step: Step;
  readonly waitingFor?: string;
  /** Absent where the work is not one call: replication is followed elsewhere. */
  readonly run?: (ref: VmRef) => Promise<void>;
  /** Registered before `run` begins, so it also covers half of its effect. */
  readonly undo?: (ref: VmRef) => Promise<void>;
}

export const preparingSteps: readonly PreparingStep[] = [
  { step: 'agentIso', waitingFor: 'the agent ISO on the destination datastore', run: steps.ensureAgentIso },
  { step: 'targetDisks', run: steps.createTargetDisks, undo: tireless.deleteTargetDisks },
  { step: 'configurationIso', run: steps.uploadConfigurationIso, undo: tireless.deleteConfigurationIso },
  { step: 'shadowVm', run: steps.createShadowVm, undo: tireless.destroyShadowVm },
  { step: 'powerOnShadowVm', run: steps.powerOnShadowVm },
  {
    step: 'shadowVmIp',
    waitingFor: 'the shadow VM to report its address',
    run: (ref) => steps.waitForShadowVmAddress({ ...ref, timeoutSeconds: limits.shadowVmAddressTimeoutSeconds }),
  },
  {
    step: 'enrolShadowVm',
    waitingFor: 'the receiver in the shadow VM to answer',
    run: steps.enrolShadowVm,
    undo: tireless.forgetShadowVm,
  },
  { step: 'storagePolicy', run: steps.attachStoragePolicy, undo: tireless.detachStoragePolicy },
  { step: 'replicate', undo: tireless.stopReplication },
];

export interface ForwardStep {
  readonly step: Step;
  /** Only where the destination is to be powered on. */
  readonly onlyWithPowerOn?: boolean;
  readonly run: (ref: VmRef) => Promise<void>;
}

export const forwardSteps: readonly ForwardStep[] = [
  { step: 'detachDisks', run: tireless.detachTargetDisks },
  { step: 'finalVm', run: tireless.createFinalVm },
  { step: 'nvram', run: tireless.copyNvram },
  { step: 'powerOn', onlyWithPowerOn: true, run: tireless.powerOnFinalVm },
  { step: 'receipt', run: tireless.writeReceipt },
  {
    step: 'destroyShadowVm',
    run: async (ref) => {
      await tireless.destroyShadowVm(ref);
      await tireless.deleteConfigurationIso(ref);
      await tireless.forgetShadowVm(ref);
    },
  },
  {
    step: 'detachPolicy',
    run: async (ref) => {
      await tireless.stopReplication(ref);
      await tireless.detachStoragePolicy(ref);
    },
  },
  { step: 'markSource', run: tireless.markSourceVm },
];

/** What has to be undone when the step `reached` was begun, in the order of undoing. */
export function undoneAfter(reached: Step): readonly PreparingStep[] {
  const last = preparingSteps.findIndex((row) => row.step === reached);
  const begun = reached === 'queued' ? [] : preparingSteps.slice(0, last === -1 ? undefined : last + 1);
  return begun.filter((row) => row.undo !== undefined).reverse();
}
