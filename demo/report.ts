// What the demo measured and proved, as data: printed as a table, written by --json. It measures nothing itself.

/** One thing that had to be true, and whether it was. */
export interface Proof {
  readonly name: string;
  readonly held: boolean;
  readonly detail: string;
}

/** All figures of one run. Times in seconds or milliseconds as the name says, bytes as numbers below 2^53. */
export interface Report {
  proofs: Proof[];
  startedAt: string;
  durationSeconds: number;
  vm: string;
  diskCapacityBytes: number;
  seededBytes: number;
  replicationSeconds: number;
  sentBytes: number;
  wireBytes: number;
  skippedBytes: number;
  resentBytes: number;
  comparedBytes: number;
  rateLimitBytesPerSecond: number;
  rateMeasuredBytesPerSecond: number;
  rateEffectiveAfterMs: number;
  workerKilledAtPercent: number;
  replicatorKilledAtPercent: number;
  dataPathDowntimeMs: number;
  wholeStopSeconds: number;
  recordsAcknowledged: number;
  recordsVerified: number;
  leaks: number;
  memoryPeakBytes: { source: number; receiver: number };
  receipt: unknown;
}

/** A report with nothing measured yet. */
export function emptyReport(vm: string): Report {
  return {
    proofs: [],
    startedAt: new Date().toISOString(),
    durationSeconds: 0,
    vm,
    diskCapacityBytes: 0,
    seededBytes: 0,
    replicationSeconds: 0,
    sentBytes: 0,
    wireBytes: 0,
    skippedBytes: 0,
    resentBytes: 0,
    comparedBytes: 0,
    rateLimitBytesPerSecond: 0,
    rateMeasuredBytesPerSecond: 0,
    rateEffectiveAfterMs: 0,
    workerKilledAtPercent: 0,
    replicatorKilledAtPercent: 0,
    dataPathDowntimeMs: 0,
    wholeStopSeconds: 0,
    recordsAcknowledged: 0,
    recordsVerified: 0,
    leaks: 0,
    memoryPeakBytes: { source: 0, receiver: 0 },
    receipt: null,
  };
}
