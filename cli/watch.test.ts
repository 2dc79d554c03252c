// What a watcher sees of one VM's migration, from its beginning to its end.
import { expect, test } from 'vitest';
import type { VmMigration } from '../contracts/rest.ts';
import { describeEnd, describeVmMigration } from './describe.ts';
import { linesOf } from './watch.ts';

const dials = { replicationRate: 50, writeThrottling: 0, bytesPerSecondMax: null, addedWriteLatencyMsMax: null };
const bytes = {
  capacityBytes: '2147483648',
  allocatedBytes: '1073741824',
  copiedBytes: '536870912',
  remainingBytes: '536870912',
};
const counters = {
  dirtyBytes: '0',
  sentBytes: '536870912',
  wireBytes: '1',
  resentBytes: '0',
  skippedBytes: '0',
  comparedBytes: '0',
};
const rates = {
  backgroundBytesPerSecond: 20_000_000,
  foregroundBytesPerSecond: 1_000_000,
  incomingBytesPerSecond: 0,
  wireBytesPerSecond: 0,
};

const queued: VmMigration = {
  id: 'vmm_1',
  migrationId: 'mig_1',
  vm: { siteId: 'site_1', moref: 'vm-1', name: 'app-01', instanceUuid: 'u' },
  destination: {
    siteId: 'site_2',
    clusterMoref: 'domain-c1',
    datastoreMoref: 'datastore-1',
    vmName: null,
    vmMoref: null,
    shadowVmMoref: null,
    shadowVmAddress: null,
  },
  paused: false,
  held: false,
  decision: null,
  projection: null,
  risks: [],
  status: 'Queued',
  state: 'Task Queued',
  reason: null,
  failure: null,
  waitingFor: 'its turn in the queue',
  place: 1,
  settings: { desired: dials, inForce: null },
  disks: [],
  progress: null,
  ready: false,
  warnings: [],
  downtime: null,
  createdAt: '2026-05-04T20:00:00.000Z',
  startedAt: null,
  readyAt: null,
  endedAt: null,
};

const running: VmMigration = {
  ...queued,
  status: 'Running',
  state: 'Replicating disks',
  waitingFor: null,
  place: null,
  progress: {
    at: '2026-05-04T20:01:00.000Z',
    jobState: 'running',
    percent: 50,
    ...bytes,
    ...counters,
    rates,
    projected: null,
    readyReasons: [],
  },
};

test('what waits says what for', () => {
  expect(linesOf(queued)).toEqual(['app-01  Task Queued (its turn in the queue)']);
});

test('P1 what runs shows bar, rates, what remains and how long', () => {
  expect(linesOf(running)).toEqual([
    'app-01  Replicating disks',
    '  [###############---------------]  50.0 %  512 MiB of 1.0 GiB',
    '  20.0 MiB/s (background 19.1 MiB/s, foreground 977 KiB/s), 512 MiB remain, about 26 s',
  ]);
});

test('the settings in force are told apart from the wish', () => {
  expect(
    describeVmMigration({
      ...running,
      settings: { desired: { ...dials, bytesPerSecondMax: '8000000' }, inForce: dials },
    }),
  ).toContain('In force: replication rate 50, write throttling 0, limit none');
});

test('the end of a failure says why and what to do', () => {
  const failed: VmMigration = {
    ...running,
    status: 'Failed',
    state: 'Failed',
    endedAt: '2026-05-04T20:02:00.000Z',
    failure: {
      code: 'ROOTS_DIFFER',
      message: 'The disks are not equal',
      remedy: 'Power the source on',
      step: 'freeze',
    },
  };
  expect(describeEnd(failed)).toBe('app-01: Failed\n  The disks are not equal\n  What to do: Power the source on');
});

test('the end of a success says how long the VM stood still and where the receipt is', () => {
  const at = '2026-05-04T20:02:00.000Z';
  const downtime = {
    totalMs: 12_300,
    dataPathMs: 140,
    stopRequestedAt: at,
    poweredOffAt: at,
    frozenAt: at,
    handedOverAt: at,
    poweredOnAt: at,
    guestReadyAt: at,
  };
  const lines = describeEnd({ ...running, status: 'Completed', state: 'Job complete', endedAt: at, downtime }).split(
    '\n',
  );
  expect(lines).toEqual([
    'app-01: Completed',
    '  The VM stood still for 12 s, guest shut-down and boot included',
    '  Its data path stood still for 140 ms',
    '  The receipt: landfall receipt vmm_1 --output receipt.json',
  ]);
});
