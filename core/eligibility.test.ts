import { describe, expect, it } from 'vitest';
import { judgeEligibility, type DiskFacts, type MachineFacts } from './eligibility.ts';

const disk: DiskFacts = {
  uuid: '6000c29a-0000-0000-0000-000000000001',
  label: 'Hard disk 1',
  path: '[datastore1] app/app.vmdk',
  capacityBytes: 2n ** 31n,
  backing: 'flat',
  mode: 'persistent',
  shared: false,
  hasParent: false,
  controllerType: 'ParaVirtualSCSIController',
};
const vm: MachineFacts = {
  powerState: 'poweredOn',
  connectionState: 'connected',
  template: false,
  hasSnapshot: false,
  consolidationNeeded: false,
  faultTolerant: false,
  encrypted: false,
  hasVtpm: false,
  passthroughDevices: [],
  disks: [disk],
};
const codesOf = (facts: MachineFacts) => judgeEligibility(facts).findings.map((finding) => finding.code);

describe('judgeEligibility', () => {
  it('accepts a plain running VM without a finding', () => {
    expect(judgeEligibility(vm)).toEqual({
      eligible: true,
      findings: [],
      disks: [{ uuid: disk.uuid, selectable: true }],
    });
  });

  it.each([
    ['L1 snapshots', { ...vm, hasSnapshot: true }, 'L1_SNAPSHOT'],
    ['L2 delta disk without snapshot', { ...vm, disks: [{ ...disk, hasParent: true }] }, 'L2_DELTA_DISK'],
    ['L2 consolidation needed', { ...vm, consolidationNeeded: true }, 'L2_DELTA_DISK'],
    ['L3 physical RDM', { ...vm, disks: [{ ...disk, backing: 'rdm-physical' as const }] }, 'L3_RDM'],
    ['L3 virtual RDM', { ...vm, disks: [{ ...disk, backing: 'rdm-virtual' as const }] }, 'L3_RDM'],
    ['L8 too many disks', { ...vm, disks: Array.from({ length: 61 }, () => disk) }, 'L8_DISK_COUNT'],
    ['L10 template', { ...vm, template: true }, 'L10_TEMPLATE'],
    ['L10 virtual TPM', { ...vm, hasVtpm: true }, 'L10_ENCRYPTED'],
    ['L10 fault tolerance', { ...vm, faultTolerant: true }, 'L10_FAULT_TOLERANCE'],
    ['L10 passthrough', { ...vm, passthroughDevices: ['PCI device 0'] }, 'L10_PASSTHROUGH'],
    ['L10 disconnected', { ...vm, connectionState: 'inaccessible' }, 'L10_DISCONNECTED'],
    ['L10 powered off', { ...vm, powerState: 'poweredOff' }, 'L10_NOT_RUNNING'],
  ])('refuses %s', (_name, facts, code) => {
    const judged = judgeEligibility(facts);
    expect(judged.eligible).toBe(false);
    expect(judged.findings.map((finding) => finding.code)).toContain(code);
    for (const finding of judged.findings) expect(finding.remedy).not.toBe('');
  });

  it.each([
    ['L4 NVMe controller', { controllerType: 'VirtualNVMEController' }, 'L4_NVME'],
    ['L5 independent non-persistent', { mode: 'independent_nonpersistent' }, 'L5_NON_PERSISTENT'],
    ['L6 shared', { shared: true }, 'L6_SHARED'],
  ])('leaves a disk out with a warning: %s', (_name, change, code) => {
    const other = { ...disk, uuid: 'other', label: 'Hard disk 2', ...change };
    const judged = judgeEligibility({ ...vm, disks: [disk, other] });
    expect(judged.eligible).toBe(true);
    expect(judged.findings).toMatchObject([{ code, severity: 'warning', diskUuid: 'other' }]);
    expect(judged.disks.map((each) => each.selectable)).toEqual([true, false]);
  });

  it('L7 allows an independent persistent disk', () => {
    expect(codesOf({ ...vm, disks: [{ ...disk, mode: 'independent_persistent' }] })).toEqual([]);
  });

  it('L8 allows exactly 60 disks', () => {
    expect(codesOf({ ...vm, disks: Array.from({ length: 60 }, () => disk) })).toEqual([]);
  });

  it('refuses a VM of which every disk would be left out', () => {
    expect(codesOf({ ...vm, disks: [{ ...disk, shared: true }] })).toEqual(['L6_SHARED', 'L8_NO_DISK']);
  });
});
