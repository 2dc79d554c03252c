/** Turns the replicator's status into what is kept and shown. Pure. */
import type { BackgroundState, Dials, ProgressReport, TransferBytes } from '../../core/index.ts';
import type { JobDisk, JobStatus } from '../../dataplane/client/index.ts';

const byteNames = [
  'capacityBytes',
  'allocatedBytes',
  'copiedBytes',
  'remainingBytes',
  'dirtyBytes',
  'sentBytes',
  'wireBytes',
  'resentBytes',
  'skippedBytes',
  'comparedBytes',
] as const;

export function progressOf(status: JobStatus, at: Date): ProgressReport {
  const total = totalOf(status.disks);
  return {
    vm: {
      ...total,
      at: at.toISOString(),
      jobState: status.state,
      percent: percentOf(total, status),
      rates: status.rates,
      projected: status.projected ?? null,
      readyReasons: status.ready.reasons,
    },
    disks: status.disks.map((disk) => ({ ...disk, backgroundState: backgroundStateOf(status, disk) })),
    ready: status.ready.ready,
    dialsInForce: normalDials(status.dials),
  };
}

/** The agent may leave out what is at its default. */
export function normalDials(dials: JobStatus['dials']): Dials {
  return {
    replicationRate: dials.replicationRate ?? 50,
    writeThrottling: dials.writeThrottling ?? 0,
    bytesPerSecondMax: dials.bytesPerSecondMax ?? null,
    addedWriteLatencyMsMax: dials.addedWriteLatencyMsMax ?? null,
  };
}

export function sameDials(a: Dials, b: Dials): boolean {
  return (
    a.replicationRate === b.replicationRate &&
    a.writeThrottling === b.writeThrottling &&
    a.bytesPerSecondMax === b.bytesPerSecondMax &&
    a.addedWriteLatencyMsMax === b.addedWriteLatencyMsMax
  );
}

function totalOf(disks: readonly JobDisk[]): TransferBytes {
  const sum = (name: (typeof byteNames)[number]) => disks.reduce((total, disk) => total + BigInt(disk[name]), 0n);
  return Object.fromEntries(byteNames.map((name) => [name, sum(name).toString()])) as unknown as TransferBytes;
}

/** Whole percent only at the end: 100 means that nothing of the first copy is left. */
function percentOf(total: TransferBytes, status: JobStatus): number {
  const allocated = Number(total.allocatedBytes);
  const copied = Number(total.copiedBytes);
  if (allocated === 0) return status.backgroundComplete ? 100 : 0;
  const percent = Math.floor((1000 * copied) / allocated) / 10;
  return status.backgroundComplete ? 100 : Math.min(percent, 99.9);
}

function backgroundStateOf(status: JobStatus, disk: JobDisk): BackgroundState {
  if (status.backgroundComplete || (disk.remainingBytes === '0' && disk.copiedBytes !== '0')) return 'Complete';
  if (status.state === 'comparing') return 'Comparing';
  if (status.state === 'paused' || status.dials.replicationRate === 0) return 'Paused';
  return status.state === 'running' ? 'Replicating' : 'Pending';
}
