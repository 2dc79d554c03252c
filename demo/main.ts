// The demo: one real migration, end to end. Starts a lab and an installation, plays the story, prints and checks the
// proofs. `--exit` stops everything at the end, `--json FILE` keeps the figures. Exit status 0 only if all proofs held.

import { rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { LeakReport, VmMigration } from '../contracts/rest.ts';
import { findFreePort, startInstallation, type Installation } from './harness/installation.ts';
import { findFreeNet, startLab, type Lab } from './harness/lab-process.ts';
import { writerVm, type Scenario } from './harness/scenario.ts';
import { runVerify } from './harness/verify-receipt.ts';
import { Narrator } from './narrator.ts';
import { emptyReport, type Report } from './report.ts';
import { finish, prepareSites, prove, proveFigures, replicate, type Stage } from './story.ts';

const VM_NAME = 'orders-db';
const CAPACITY_MIB = 2048;
const SEED_MIB = 1024;
const MIB = 1024 * 1024;
const LINK_BYTES_PER_SECOND = 25_000_000;
const LINK_RTT_MS = 20;
/** One record every so many milliseconds: a busy disk, and 14 % of a core under emulation. */
const WRITER_PAUSE_MS = 10;

const scenario: Scenario = {
  wan: { bytesPerSecondMax: LINK_BYTES_PER_SECOND, rttMs: LINK_RTT_MS },
  vms: [
    writerVm({ name: VM_NAME, capacityMib: CAPACITY_MIB, seedMib: SEED_MIB, writerPauseMs: WRITER_PAUSE_MS }),
    {
      ...writerVm({ name: 'mail-old', capacityMib: 64, seedMib: 0, writerPauseMs: 100, powerOn: false }),
      snapshot: true,
    },
    { ...writerVm({ name: 'erp-raw', capacityMib: 64, seedMib: 0, writerPauseMs: 100, powerOn: false }), rdm: true },
  ],
};

const { values: options } = parseArgs({
  options: { exit: { type: 'boolean', default: false }, json: { type: 'string' }, home: { type: 'string' } },
});

const home = resolve(options.home ?? join('.landfall', 'demo'));
const narrator = new Narrator(process.stdout);
const report = emptyReport(VM_NAME);
report.diskCapacityBytes = CAPACITY_MIB * MIB;
report.seededBytes = SEED_MIB * MIB;
const running: { lab?: Promise<Lab>; installation?: Promise<Installation> } = {};
const startedAt = performance.now();

async function stopAll(): Promise<void> {
  // What is still starting is waited for: a half-started part would outlive the demo.
  const [installation, lab] = await Promise.allSettled([running.installation, running.lab]);
  if (installation.status === 'fulfilled') await installation.value?.stop();
  if (lab.status === 'fulfilled') await lab.value?.stop();
}

async function start(): Promise<Stage> {
  narrator.chapter('Starting two vCenters with real guests, and Landfall');
  narrator.say('The guests are emulated without hardware acceleration; a minute of patience on a small machine.');
  await rm(home, { recursive: true, force: true });
  const net = await findFreeNet(80, 95);
  const apiPort = await findFreePort(8743);
  running.lab = startLab({ home: join(home, 'lab'), net, scenario });
  running.installation = startInstallation({ home: join(home, 'installation'), apiPort });
  const [lab, installation] = await Promise.all([running.lab, running.installation]);
  narrator.say(`Between the sites: ${String((LINK_BYTES_PER_SECOND * 8) / 1e6)} Mbit/s, ${String(LINK_RTT_MS)} ms.`);
  return { lab, installation, narrator, report };
}

async function showReceipt(stage: Stage, ended: VmMigration): Promise<void> {
  narrator.chapter('The receipt');
  report.receipt = await stage.installation.call('GET', `/vm-migrations/${ended.id}/receipt`);
  const file = join(home, 'receipt.json');
  await writeFile(file, JSON.stringify(report.receipt));
  narrator.say(JSON.stringify(report.receipt, null, 2).replaceAll('\n', '\n        '));
  const source = await stage.lab.control.vm('source', VM_NAME);
  const verified = await runVerify(file, source.disks[0]?.flatPath);
  for (const line of verified.output.trim().split('\n')) narrator.say(line);
  prove(
    stage,
    'receipt',
    verified.exitStatus === 0,
    'the receipt was checked off-line, its root recomputed from the source disk',
  );
}

async function proveCleanEnd(stage: Stage): Promise<void> {
  const leaks = await stage.installation.call<LeakReport>('GET', '/leaks');
  report.leaks = leaks.items.length;
  const names = leaks.items.map((leak) => `${leak.siteName}: ${leak.kind} ${leak.name}`);
  prove(
    stage,
    'nothing left behind',
    leaks.clean,
    leaks.clean ? 'neither vCenter holds anything of ours that is not needed' : names.join('; '),
  );
}

async function finishReport(final: Report): Promise<boolean> {
  final.durationSeconds = (performance.now() - startedAt) / 1000;
  if (options.json !== undefined) await writeFile(resolve(options.json), `${JSON.stringify(final, null, 2)}\n`);
  const held = final.proofs.every((proof) => proof.held);
  narrator.chapter(held ? 'Every proof held' : 'Not every proof held');
  narrator.say(
    `${String(final.proofs.filter((proof) => proof.held).length)} of ${String(final.proofs.length)} proofs, ${final.durationSeconds.toFixed(0)} s in all.`,
  );
  return held;
}

/** Ctrl-C and SIGTERM end the demo at any moment, and everything that it started with it. */
let stopping = false;
const interrupted = new Promise<'interrupted'>((done) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stopping = true;
      done('interrupted');
    });
  }
});

function showLinks(stage: Stage): void {
  narrator.say(`API reference:  ${stage.installation.url}/docs`);
  narrator.say(`Temporal UI:    ${stage.installation.temporalUi}`);
  narrator.say(`Command line:   LANDFALL_HOME=${stage.installation.home} npx landfall watch`);
  narrator.say('Everything still runs. Ctrl-C stops it.');
}

/** The whole story. Whether every proof held is the answer. */
async function play(): Promise<boolean> {
  const stage = await start();
  const sites = await prepareSites(stage);
  const final = await replicate(stage, sites);
  const ended = await finish(stage, final.id);
  proveFigures(stage, ended);
  await proveCleanEnd(stage);
  await showReceipt(stage, ended);
  const held = await finishReport(report);
  if (!options.exit) showLinks(stage);
  return held;
}

async function giveUp(error: unknown): Promise<boolean> {
  // What breaks while everything is being stopped is no finding.
  if (stopping) return false;
  narrator.chapter('The demo could not go on');
  narrator.say(error instanceof Error ? error.message : String(error));
  narrator.say(`The logs are in ${home}.`);
  report.proofs.push({ name: 'story', held: false, detail: String(error) });
  return finishReport(report);
}

const outcome = await Promise.race([play().catch(giveUp), interrupted]);
if (outcome !== 'interrupted' && !options.exit) await interrupted;
if (!options.exit || outcome === 'interrupted') narrator.say('Stopping ...');
await stopAll();
process.exit(outcome === 'interrupted' ? 130 : outcome ? 0 : 1);
