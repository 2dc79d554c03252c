/**
 * Whether a VM can be migrated over the network as it is (product rows L1 to L8 and part of L10), with every
 * reason and what to do about it. A pure judgement over facts that somebody else has read.
 */
import { limits } from './limits.ts';

/** What has to be known of a disk. Facts with more members fit as well. */
export interface DiskFacts {
  readonly uuid: string;
  readonly label: string;
  readonly path: string;
  readonly capacityBytes: bigint;
  readonly backing: 'flat' | 'sesparse' | 'rdm-physical' | 'rdm-virtual' | 'other';
  readonly mode: string;
  readonly shared: boolean;
  readonly hasParent: boolean;
  readonly controllerType: string;
}

export interface MachineFacts {
  readonly powerState: string;
  readonly connectionState: string;
  readonly template: boolean;
  readonly hasSnapshot: boolean;
  readonly consolidationNeeded: boolean;
  readonly faultTolerant: boolean;
  readonly encrypted: boolean;
  readonly hasVtpm: boolean;
  readonly passthroughDevices: readonly string[];
  readonly disks: readonly DiskFacts[];
}

export type FindingSeverity = 'refused' | 'warning';

export interface Finding {
  readonly code: string;
  readonly severity: FindingSeverity;
  /** What stands in the way, and the consequence. */
  readonly message: string;
  readonly remedy: string;
  /** The disk that it concerns, or null for the whole VM. */
  readonly diskUuid: string | null;
}

export interface DiskJudgement {
  readonly uuid: string;
  /** False where the disk is left out of a migration; a finding says why. */
  readonly selectable: boolean;
}

export interface Eligibility {
  readonly eligible: boolean;
  readonly findings: readonly Finding[];
  readonly disks: readonly DiskJudgement[];
}

interface Rule<F> {
  readonly code: string;
  readonly severity: FindingSeverity;
  readonly remedy: string;
  /** The message when the rule applies, else null. */
  readonly applies: (facts: F) => string | null;
}

const machineRules: readonly Rule<MachineFacts>[] = [
  {
    code: 'L1_SNAPSHOT',
    severity: 'refused',
    remedy: 'Delete or consolidate the snapshots of the VM.',
    applies: (vm) => (vm.hasSnapshot ? 'The VM has snapshots' : null),
  },
  {
    code: 'L2_DELTA_DISK',
    severity: 'refused',
    remedy: 'Consolidate the disks of the VM (Snapshots > Consolidate).',
    applies: (vm) => {
      const delta = vm.hasSnapshot ? undefined : vm.disks.find((disk) => disk.hasParent);
      if (delta !== undefined) return `${delta.label} is a delta disk although the VM has no snapshot`;
      return vm.consolidationNeeded ? 'The disks of the VM need consolidation' : null;
    },
  },
  {
    code: 'L10_TEMPLATE',
    severity: 'refused',
    remedy: 'Convert it to a virtual machine first.',
    applies: (vm) => (vm.template ? 'It is a template, not a VM' : null),
  },
  {
    code: 'L10_ENCRYPTED',
    severity: 'refused',
    remedy: 'Decrypt the VM and remove its virtual TPM first: their keys cannot be taken along.',
    applies: (vm) => (vm.encrypted || vm.hasVtpm ? 'The VM is encrypted or has a virtual TPM' : null),
  },
  {
    code: 'L10_FAULT_TOLERANCE',
    severity: 'refused',
    remedy: 'Turn fault tolerance off for this VM.',
    applies: (vm) => (vm.faultTolerant ? 'The VM is fault tolerant' : null),
  },
  {
    code: 'L10_PASSTHROUGH',
    severity: 'refused',
    remedy: 'Remove the devices that tie the VM to its host.',
    applies: (vm) =>
      vm.passthroughDevices.length > 0 ? `The VM uses devices of its host: ${vm.passthroughDevices.join(', ')}` : null,
  },
  {
    code: 'L10_DISCONNECTED',
    severity: 'refused',
    remedy: 'Bring its host and datastore back, then look again.',
    applies: (vm) => (vm.connectionState === 'connected' ? null : `The VM is ${vm.connectionState}`),
  },
  {
    code: 'L10_NOT_RUNNING',
    severity: 'refused',
    remedy: 'Power the VM on; migrating powered-off VMs is not offered yet.',
    applies: (vm) => (vm.powerState === 'poweredOn' ? null : `The VM is not running (${vm.powerState})`),
  },
];

/** The first rule that applies to a disk decides about it. */
const diskRules: readonly Rule<DiskFacts>[] = [
  {
    code: 'L3_RDM',
    severity: 'refused',
    remedy: 'Detach the raw device mapping, or convert it to a virtual disk.',
    applies: (disk) => (disk.backing.startsWith('rdm-') ? `${disk.label} is a raw device mapping` : null),
  },
  {
    code: 'L4_NVME',
    severity: 'warning',
    remedy: 'Move the disk to a SCSI or SATA controller if it is to be migrated.',
    applies: (disk) =>
      disk.controllerType === 'VirtualNVMEController'
        ? `${disk.label} is on an NVMe controller and is left out of the migration`
        : null,
  },
  {
    code: 'L5_NON_PERSISTENT',
    severity: 'warning',
    remedy: 'Make the disk persistent if it is to be migrated.',
    applies: (disk) =>
      disk.mode.endsWith('nonpersistent')
        ? `${disk.label} is independent and non-persistent and is left out of the migration`
        : null,
  },
  {
    code: 'L6_SHARED',
    severity: 'warning',
    remedy: 'End the sharing (multi-writer or bus sharing) if the disk is to be migrated.',
    applies: (disk) => (disk.shared ? `${disk.label} is shared with other VMs and is left out of the migration` : null),
  },
  {
    code: 'L10_DISK_TYPE',
    severity: 'refused',
    remedy: 'Move the disk to a flat file, for example by storage vMotion or a clone.',
    applies: (disk) =>
      disk.backing !== 'flat' || disk.uuid === '' ? `${disk.label} has a kind of backing that is not supported` : null,
  },
];

/** Judges a VM for a migration over the network. */
export function judgeEligibility(vm: MachineFacts): Eligibility {
  const findings: Finding[] = machineRules.flatMap((rule) => findingOf(rule, vm, null));
  const disks = vm.disks.map((disk) => {
    const against = diskRules.flatMap((rule) => findingOf(rule, disk, disk.uuid))[0];
    if (against !== undefined) findings.push(against);
    return { uuid: disk.uuid, selectable: against === undefined };
  });
  const selectable = disks.filter((disk) => disk.selectable).length;
  if (vm.disks.length > limits.disksPerVmMax) {
    findings.push({
      code: 'L8_DISK_COUNT',
      severity: 'refused',
      message: `The VM has ${vm.disks.length} disks; at most ${limits.disksPerVmMax} can be migrated`,
      remedy: 'Detach disks that need not be migrated.',
      diskUuid: null,
    });
  }
  if (selectable === 0 && !findings.some((finding) => finding.severity === 'refused')) {
    findings.push({
      code: 'L8_NO_DISK',
      severity: 'refused',
      message: 'The VM has no disk that can be migrated',
      remedy: 'Look at the findings of its disks.',
      diskUuid: null,
    });
  }
  return { eligible: findings.every((finding) => finding.severity === 'warning'), findings, disks };
}

function findingOf<F>(rule: Rule<F>, facts: F, diskUuid: string | null): Finding[] {
  const message = rule.applies(facts);
  if (message === null) return [];
  return [{ code: rule.code, severity: rule.severity, message, remedy: rule.remedy, diskUuid }];
}
