/** Turns the replicator's status into what is kept and shown. Pure. */
import type { BackgroundState, Dials, ProgressReport, TransferBytes } from '../../core/index.ts';
import type { JobDisk, JobStatus } from '../../dataplane/client/index.ts';

/** What a disk's record keeps: totals over all processes, and what the present process counted so far. */
export interface KeptCounters extends TransferBytes {
  readonly sourceUuid: string;
  /** Counted by the process that was seen last: a smaller number means that another one has begun to count. */
  readonly ofProcess: Pick<TransferBytes, CountedName>;
  readonly verified?: JobDisk['verified'];
  readonly verifiedAt?: string | null;
}

/** Counted by the replicator since its process began; the others say how things stand now. */
const countedNames = ['sentBytes', 'wireBytes', 'resentBytes', 'skippedBytes', 'comparedBytes'] as const;
type CountedName = (typeof countedNames)[number];
const stateNames = ['capacityBytes', 'allocatedBytes', 'copiedBytes', 'remainingBytes', 'dirtyBytes'] as const;

export function progressOf(status: JobStatus, kept: readonly KeptCounters[], at: Date): ProgressReport {
  const disks = status.disks.map((disk) => {
    const before = kept.find(({ sourceUuid }) => sourceUuid === disk.sourceUuid);
    return {
      ...disk,
      ...continueCounters(disk, before),
      ...verificationOf(status, disk, before),
      backgroundState: backgroundStateOf(status, disk),
    };
  });
  const total = totalOf(disks);
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
    disks,
    ready: status.ready.ready,
    dialsInForce: normalDials(status.dials),
  };
}

/** A source that was killed begins to count anew: what its predecessors moved stays in the totals. */
function continueCounters(
  now: JobDisk,
  before: KeptCounters | undefined,
): Pick<TransferBytes, CountedName> & Pick<KeptCounters, 'ofProcess'> {
  const count = (name: CountedName): string => {
    const counted = BigInt(now[name]);
    if (before === undefined) return counted.toString();
    const seen = BigInt(before.ofProcess[name]);
    return (BigInt(before[name]) + (counted >= seen ? counted - seen : counted)).toString();
  };
  const totals = Object.fromEntries(countedNames.map((name) => [name, count(name)]));
  const ofProcess = Object.fromEntries(countedNames.map((name) => [name, now[name]]));
  return { ...totals, ofProcess } as Pick<TransferBytes, CountedName> & Pick<KeptCounters, 'ofProcess'>;
}

/** Once the source is sealed nothing is compared any more: a process that was started after that does not know what was. */
function verificationOf(
  { handover: { state } }: JobStatus,
  now: JobDisk,
  before: KeptCounters | undefined,
): Pick<JobDisk, 'verified' | 'verifiedAt'> {
  const sealed = state === 'handed-off' || state === 'active';
  const known = sealed && before?.verified !== undefined ? before : now;
  return { verified: known.verified ?? 'transfer', verifiedAt: known.verifiedAt ?? null };
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

function totalOf(disks: readonly TransferBytes[]): TransferBytes {
  const names = [...stateNames, ...countedNames];
  const sum = (name: keyof TransferBytes) => disks.reduce((total, disk) => total + BigInt(disk[name]), 0n);
  return Object.fromEntries(names.map((name) => [name, sum(name).toString()])) as unknown as TransferBytes;
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
