import { describe, expect, it } from 'vitest';
import type { JobDisk, JobStatus } from '../../dataplane/client/index.ts';
import { normalDials, progressOf, sameDials, type KeptCounters } from './progress.ts';

const disk: JobDisk = {
  sourceUuid: 's1',
  destinationUuid: 'd1',
  capacityBytes: '1000',
  allocatedBytes: '800',
  copiedBytes: '200',
  remainingBytes: '600',
  dirtyBytes: '10',
  sentBytes: '210',
  wireBytes: '220',
  resentBytes: '0',
  skippedBytes: '200',
  comparedBytes: '0',
  verified: 'transfer',
  scrubbedBytes: '0',
  scrubRepairedChunks: 0,
  scrubEvidence: [],
};
const status: JobStatus = {
  jobId: 'vmm_1',
  kind: 'replicate',
  vmUuid: 'u',
  generation: 1,
  epoch: 1,
  state: 'running',
  ready: { ready: false, reasons: [{ code: 'COPYING', message: 'still copying' }] },
  rates: { backgroundBytesPerSecond: 1, foregroundBytesPerSecond: 2, incomingBytesPerSecond: 3, wireBytesPerSecond: 4 },
  dials: {},
  backgroundComplete: false,
  disks: [disk],
  handover: { token: 0, state: 'none', disks: [] },
};
const at = new Date('2026-11-21T12:00:00Z');
const counted = (change: Partial<JobDisk>) => ({ ...status, disks: [{ ...disk, ...change }] });

describe('progressOf', () => {
  it('P1 sums all disks and says how far the first copy is', () => {
    const report = progressOf({ ...status, disks: [disk, { ...disk, sourceUuid: 's2' }] }, [], at);
    expect(report.vm).toMatchObject({ allocatedBytes: '1600', sentBytes: '420', percent: 25, at: at.toISOString() });
    expect(report.disks.map((each) => each.backgroundState)).toEqual(['Replicating', 'Replicating']);
    expect(report.ready).toBe(false);
  });

  it('reaches 100 percent only when the background is complete', () => {
    expect(progressOf(counted({ copiedBytes: '800' }), [], at).vm.percent).toBe(99.9);
    expect(progressOf({ ...status, backgroundComplete: true }, [], at).vm.percent).toBe(100);
  });

  it('M10 keeps what a killed source had moved in the totals', () => {
    const kept = (report: ReturnType<typeof progressOf>) => report.disks as unknown as KeptCounters[];
    const first = progressOf(counted({ sentBytes: '500' }), [], at);
    const second = progressOf(counted({ sentBytes: '40' }), kept(first), at);
    const third = progressOf(counted({ sentBytes: '90' }), kept(second), at);
    expect([first, second, third].map((report) => report.vm.sentBytes)).toEqual(['500', '540', '590']);
  });

  it('keeps what the equality rests on when a sealed source is started anew', () => {
    const kept = (report: ReturnType<typeof progressOf>) => report.disks as unknown as KeptCounters[];
    const verifiedAt = '2026-11-21T11:59:00.000Z';
    const frozen = progressOf(counted({ verified: 'reread', verifiedAt }), [], at);
    expect(frozen.disks[0]).toMatchObject({ verified: 'reread', verifiedAt });
    const sealed = { ...status, handover: { ...status.handover, state: 'active' as const } };
    expect(progressOf(sealed, kept(frozen), at).disks[0]).toMatchObject({ verified: 'reread', verifiedAt });
    expect(progressOf(status, kept(frozen), at).disks[0]).toMatchObject({ verified: 'transfer', verifiedAt: null });
  });

  it.each([
    [{ ...status, state: 'comparing' as const }, 'Comparing'],
    [{ ...status, state: 'paused' as const }, 'Paused'],
    [{ ...status, dials: { replicationRate: 0 } }, 'Paused'],
    [{ ...status, state: 'connecting' as const }, 'Pending'],
    [{ ...status, backgroundComplete: true }, 'Complete'],
  ])('M2 names the state of the background copy', (seen, expected) => {
    expect(progressOf(seen, [], at).disks[0]?.backgroundState).toBe(expected);
  });
});

describe('dials', () => {
  it('fills in what an agent leaves out, and compares by value', () => {
    const dials = normalDials({ bytesPerSecondMax: '5' });
    expect(dials).toEqual({
      replicationRate: 50,
      writeThrottling: 0,
      bytesPerSecondMax: '5',
      addedWriteLatencyMsMax: null,
    });
    expect(sameDials(dials, { ...dials })).toBe(true);
    expect(sameDials(dials, { ...dials, bytesPerSecondMax: null })).toBe(false);
  });
});
