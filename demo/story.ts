// The demo's run, chapter by chapter: what a user does, what goes wrong on purpose, what is proven at the end.
// Every statement that it prints is measured or read in this run.

import type { VmMigration } from '../contracts/rest.ts';
import { killWorker, liftLimit, limitAndMeasure, memoryPeaks } from './disturb.ts';
import { compareDisks } from './harness/compare-disks.ts';
import type { Installation } from './harness/installation.ts';
import type { Lab } from './harness/lab-process.ts';
import {
  configureSourceCluster,
  followVmMigration,
  listVms,
  percentCopied,
  registerSites,
  startMigration,
  type Sites,
} from './harness/operations.ts';
import { waitFor } from './harness/wait.ts';
import { formatBytes, type Narrator } from './narrator.ts';
import type { Report } from './report.ts';

const LIMIT_AT_PERCENT = 20;
const LIMIT_BYTES_PER_SECOND = 8_000_000;
const WORKER_KILL_AT_PERCENT = 40;
const REPLICATOR_KILL_AT_PERCENT = 60;
const REPLICATE_TIMEOUT_MS = 300_000;
const FINAL_TIMEOUT_MS = 180_000;
const GUEST_TIMEOUT_MS = 60_000;
/** Records that the guest has to add at the destination before it counts as going on. */
const RECORDS_AFTER = 20;
const MEMORY_MAX_BYTES = 384 * 1024 * 1024;
const DATA_PATH_MAX_MS = 1000;

/** Everything that the chapters share. */
export interface Stage {
  readonly lab: Lab;
  readonly installation: Installation;
  readonly narrator: Narrator;
  readonly report: Report;
}

/** Registers both vCenters, shows what they hold, and puts the write tap on the source's hosts. */
export async function prepareSites(stage: Stage): Promise<Sites> {
  const { narrator, installation, lab } = stage;
  narrator.chapter('Registering both vCenters');
  const sites = await registerSites(installation, lab);
  narrator.say(
    `${sites.source.name} at ${sites.source.address}, ${sites.destination.name} at ${sites.destination.address}`,
  );
  narrator.say('Each certificate was looked at first and is pinned from now on.');
  const vms = await listVms(installation, sites.source.id);
  narrator.table([
    ['VM', 'power', 'disks', 'can be moved'],
    ...vms.map((vm) => [
      vm.name,
      vm.powerState,
      vm.disks.map((disk) => formatBytes(Number(disk.capacityBytes))).join(' + '),
      vm.eligible ? 'yes' : `no: ${vm.findings.map((finding) => finding.message).join('; ')}`,
    ]),
  ]);
  narrator.chapter('Configuring the source cluster');
  const cluster = await configureSourceCluster(installation, sites);
  for (const host of cluster.hosts) narrator.say(`${host.name}: ${host.message ?? host.state}`);
  return sites;
}

/** Starts the migration and disturbs it on the way. Returns it when the final migration begins. */
export async function replicate(stage: Stage, sites: Sites): Promise<VmMigration> {
  const { narrator, installation, lab, report } = stage;
  narrator.chapter(`Moving ${report.vm} while it writes`);
  await lab.control.holdPowerOn('destination', report.vm, true);
  const migration = await startMigration(installation, sites, { vmNames: [report.vm], autoFinal: true });
  const [vmMigration] = migration.vmMigrations;
  if (vmMigration === undefined) throw new Error('The migration has no VM');
  const id = vmMigration.id;
  const follow = async (reached: (now: VmMigration) => boolean): Promise<VmMigration> => {
    const now = await followVmMigration(installation, id, {
      reached,
      timeoutMs: REPLICATE_TIMEOUT_MS,
      onLook: (seen) => {
        narrator.progress(percentCopied(seen), seen.state, describeProgress(seen));
      },
    });
    const peaks = await memoryPeaks(lab);
    report.memoryPeakBytes.source = Math.max(report.memoryPeakBytes.source, peaks.source);
    report.memoryPeakBytes.receiver = Math.max(report.memoryPeakBytes.receiver, peaks.receiver);
    return now;
  };
  const startedAt = performance.now();
  await follow((now) => percentCopied(now) >= LIMIT_AT_PERCENT);
  await limit(stage, id);
  report.workerKilledAtPercent = percentCopied(await follow((now) => percentCopied(now) >= WORKER_KILL_AT_PERCENT));
  const workerPid = await killWorker(installation);
  narrator.say(
    `Killed the worker (process ${String(workerPid)}). The replicator goes on; a new worker finds it again.`,
  );
  const atKill = await follow((now) => percentCopied(now) >= REPLICATOR_KILL_AT_PERCENT);
  report.replicatorKilledAtPercent = percentCopied(atKill);
  const replicatorPid = await lab.control.kill('replicator-source', report.vm);
  narrator.say(
    `Killed the source replicator (process ${String(replicatorPid)}). The guest waits a moment, then writes on;`,
  );
  narrator.say('what lies on both sides is compared by hash, and only what differs is sent again.');
  const final = await follow((now) => now.readyAt !== null);
  report.replicationSeconds = (performance.now() - startedAt) / 1000;
  return final;
}

async function limit(stage: Stage, id: string): Promise<void> {
  const { narrator, installation, lab, report } = stage;
  narrator.say(`Setting a limit of ${formatBytes(LIMIT_BYTES_PER_SECOND)}/s and measuring on the link itself ...`);
  const effect = await limitAndMeasure(installation, lab, id, LIMIT_BYTES_PER_SECOND);
  report.rateLimitBytesPerSecond = LIMIT_BYTES_PER_SECOND;
  report.rateMeasuredBytesPerSecond = effect.bytesPerSecond;
  report.rateEffectiveAfterMs = effect.effectiveAfterMs;
  const within = Math.abs(effect.bytesPerSecond / LIMIT_BYTES_PER_SECOND - 1);
  prove(
    stage,
    'rate limit',
    effect.effectiveAfterMs <= 1000 && within <= 0.1,
    `${formatBytes(effect.bytesPerSecond)}/s measured (${(within * 100).toFixed(1)} % off), in force after ${effect.effectiveAfterMs.toFixed(0)} ms`,
  );
  await liftLimit(installation, id);
  narrator.say('Limit lifted.');
}

/** Watches the final migration, compares the disks before the guest starts, and waits until it writes again. */
export async function finish(stage: Stage, id: string): Promise<VmMigration> {
  const { narrator, installation, lab, report } = stage;
  narrator.chapter('Final migration');
  const lastWrite = watchLastWrite(stage);
  await waitFor(
    'the power-on at the destination',
    async () => {
      const now = await followVmMigration(installation, id, { reached: () => true, timeoutMs: 10_000 });
      narrator.progress(percentCopied(now), now.state, describeProgress(now));
      return (await lab.control.powerOnWaits('destination', report.vm)) ? true : undefined;
    },
    { timeoutMs: FINAL_TIMEOUT_MS, intervalMs: 200 },
  );
  const heldAt = performance.now();
  await compareBothSides(stage);
  const heldMs = performance.now() - heldAt;
  await lab.control.holdPowerOn('destination', report.vm, false);
  const firstWriteAt = await waitFor(
    'the guest to write at the destination',
    async () => {
      const vm = await lab.control.vm('destination', report.vm).catch(() => null);
      return vm !== null && vm.verified !== null && vm.acknowledged > vm.verified ? performance.now() : undefined;
    },
    { timeoutMs: GUEST_TIMEOUT_MS, intervalMs: 100 },
  );
  report.wholeStopSeconds = (firstWriteAt - (await lastWrite()) - heldMs) / 1000;
  narrator.say(
    `The guest stood still for ${report.wholeStopSeconds.toFixed(1)} s, last write to first write ` +
      `(the demo's own comparison of ${(heldMs / 1000).toFixed(1)} s not counted).`,
  );
  await proveRecords(stage);
  return followVmMigration(installation, id, {
    reached: (now) => now.status === 'Completed',
    timeoutMs: FINAL_TIMEOUT_MS,
  });
}

/** Notes when the source guest's record counter last moved. */
function watchLastWrite(stage: Stage): () => Promise<number> {
  let [lastCount, lastAt, watching] = [-1, performance.now(), true];
  const loop = (async () => {
    while (watching) {
      const vm = await stage.lab.control.vm('source', stage.report.vm).catch(() => null);
      if (vm !== null && vm.acknowledged > lastCount) {
        lastCount = vm.acknowledged;
        lastAt = performance.now();
      }
      await new Promise((done) => setTimeout(done, 100));
    }
  })();
  return async () => {
    watching = false;
    await loop;
    stage.report.recordsAcknowledged = lastCount;
    return lastAt;
  };
}

async function compareBothSides(stage: Stage): Promise<void> {
  const { lab, report } = stage;
  const source = await lab.control.vm('source', report.vm);
  const destination = await lab.control.vm('destination', report.vm);
  for (const [index, disk] of source.disks.entries()) {
    const other = destination.disks[index];
    if (other === undefined) {
      prove(stage, 'equal disks', false, `disk ${String(index)} has no counterpart at the destination`);
      continue;
    }
    const difference = await compareDisks(disk.flatPath, other.flatPath);
    prove(
      stage,
      'equal disks',
      difference === null,
      difference === null
        ? `disk ${String(index)}: all ${formatBytes(Number(disk.capacityBytes))} equal, byte by byte, before the guest starts`
        : `disk ${String(index)}: ${difference.description}`,
    );
  }
}

async function proveRecords(stage: Stage): Promise<void> {
  const { lab, report } = stage;
  const vm = await waitFor(
    'the guest to go on writing',
    async () => {
      const now = await lab.control.vm('destination', report.vm);
      return now.verified !== null && now.acknowledged >= now.verified + RECORDS_AFTER ? now : undefined;
    },
    { timeoutMs: GUEST_TIMEOUT_MS },
  );
  report.recordsVerified = vm.verified ?? 0;
  prove(
    stage,
    'no write lost',
    report.recordsAcknowledged > 0 && report.recordsVerified >= report.recordsAcknowledged,
    `the guest had been told that ${String(report.recordsAcknowledged)} records are safe; it found ` +
      `${String(report.recordsVerified)} whole, and has written ${String(vm.acknowledged - report.recordsVerified)} more since`,
  );
}

/** Figures of the ended migration against what was promised. */
export function proveFigures(stage: Stage, ended: VmMigration): void {
  const { report } = stage;
  report.dataPathDowntimeMs = ended.downtime?.dataPathMs ?? Number.NaN;
  prove(
    stage,
    'data path downtime',
    report.dataPathDowntimeMs <= DATA_PATH_MAX_MS,
    `frozen to owned by the destination in ${String(report.dataPathDowntimeMs)} ms`,
  );
  const progress = ended.progress;
  if (progress !== null) {
    report.sentBytes = Number(progress.sentBytes);
    report.wireBytes = Number(progress.wireBytes);
    report.skippedBytes = Number(progress.skippedBytes);
    report.resentBytes = Number(progress.resentBytes);
    report.comparedBytes = Number(progress.comparedBytes);
  }
  const resentMax = 64 * 1024 * 1024 + 0.01 * report.seededBytes;
  prove(
    stage,
    'no starting over',
    progress !== null && report.resentBytes <= resentMax,
    `${formatBytes(report.resentBytes)} sent again after the kills; ${formatBytes(report.comparedBytes)} compared by hash instead`,
  );
  const { source, receiver } = report.memoryPeakBytes;
  prove(
    stage,
    'memory',
    source > 0 && receiver > 0 && Math.max(source, receiver) <= MEMORY_MAX_BYTES,
    `replicator at the source ${formatBytes(source)}, at the destination ${formatBytes(receiver)}`,
  );
}

/** Notes a proof and says it. */
export function prove(stage: Stage, name: string, held: boolean, detail: string): void {
  stage.report.proofs.push({ name, held, detail });
  stage.narrator.proof(held, detail);
}

function describeProgress(now: VmMigration): string {
  const progress = now.progress;
  if (progress === null) return now.waitingFor === null ? '' : `waits for ${now.waitingFor}`;
  const rate = formatBytes(progress.rates.backgroundBytesPerSecond + progress.rates.foregroundBytesPerSecond);
  const waiting = now.reason === null ? '' : ` (${now.reason.message})`;
  return `${rate}/s, ${formatBytes(Number(progress.remainingBytes))} left${waiting}`;
}
