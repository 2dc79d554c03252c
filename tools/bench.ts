/**
 * `npm run bench -- SUITE…`: figures of the product, each measured several times against its goal and its peers. It prints and
 * writes what it measured; it never fails because of a figure: a bench is not a timed test.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openBench, type Bench } from './bench/context.ts';
import type { Report, SuiteResult } from './bench/figure.ts';
import { describeMachine } from './bench/machine.ts';
import { cleanUpAtEnd } from './bench/processes.ts';
import { publish } from './bench/publish.ts';
import { reportLines } from './bench/report.ts';
import { measureStart } from './bench/start.ts';
import { measureCold } from './bench/suites/cold.ts';
import { measureConverge } from './bench/suites/converge.ts';
import { measureCutover } from './bench/suites/cutover.ts';
import { measureFleet } from './bench/suites/fleet.ts';
import { measureMemory } from './bench/suites/memory.ts';
import { measureRate } from './bench/suites/rate.ts';
import { measureResume } from './bench/suites/resume.ts';
import { measureTap } from './bench/suites/tap.ts';

const dataPlane: Readonly<Record<string, (bench: Bench) => Promise<SuiteResult>>> = {
  cold: measureCold,
  tap: measureTap,
  converge: measureConverge,
  resume: measureResume,
  cutover: measureCutover,
  rate: measureRate,
  memory: measureMemory,
};
/** Not the data plane: named by itself. */
const others: typeof dataPlane = { fleet: measureFleet };
const roundsDefault = 5;

const usage = `Usage: npm run bench -- SUITE... [options]
Suites: start, fleet, ${Object.keys(dataPlane).join(', ')}, or all (everything but start and fleet)

  --rounds N           interleaved rounds of every cell (${roundsDefault}; with --quick 1)
  --quick              small sizes: shows that a suite works, says nothing about speed
  --json FILE          writes everything that was measured
  --publish            writes plots and tables into docs/performance.md and docs/performance/
  --folder DIR         images (kept) and scratch files; by default in the folder for temporary files
  --forget                 removes the images after every suite: needs less room, takes longer
  --replicator FILE    by default build/replicator
  --lab FILE           by default build/lab
  --vms N              VMs of the fleet (1000; with --quick 60)
  --temporal ADDRESS   workflow engine of the fleet instead of the embedded one
`;

function refuse(what: string): never {
  process.stderr.write(`${what}\n\n${usage}`);
  process.exit(2);
}

function readOptions(): ReturnType<typeof parse> {
  try {
    return parse();
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

const parse = () =>
  parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
      publish: { type: 'boolean', default: false },
      folder: { type: 'string', default: join(tmpdir(), 'landfall-bench') },
      forget: { type: 'boolean', default: false },
      replicator: { type: 'string', default: 'build/replicator' },
      lab: { type: 'string', default: 'build/lab' },
      vms: { type: 'string' },
      temporal: { type: 'string' },
    },
  });

const { values, positionals } = readOptions();
const names = positionals.includes('all') ? Object.keys(dataPlane) : positionals;
const unknown = names.find((name) => name !== 'start' && !(name in dataPlane) && !(name in others));
const rounds = Number(values.rounds ?? (values.quick ? 1 : roundsDefault));
if (names.length === 0) refuse('Name at least one suite.');
if (unknown !== undefined) refuse(`There is no suite "${unknown}".`);
if (!Number.isInteger(rounds) || rounds < 1) refuse('--rounds takes a number from 1.');
const vms = values.vms === undefined ? undefined : Number(values.vms);
if (vms !== undefined && (!Number.isInteger(vms) || vms < 1)) refuse('--vms takes a number from 1.');
if (values.publish && values.quick) refuse('Figures of --quick say nothing: they are not published.');

cleanUpAtEnd();
const reports: Report[] = [];
for (const name of names) {
  const begunMs = performance.now();
  try {
    const result = await measure(name);
    const seconds = Math.round((performance.now() - begunMs) / 1000);
    // A fleet takes minutes: it is measured once, however many rounds others take.
    const measured = name in others ? 1 : rounds;
    reports.push({ suite: name, measuredAt: new Date().toISOString(), rounds: measured, seconds, ...result });
    process.stdout.write(`\n${name}, ${seconds} s\n${reportLines(result).join('\n')}\n`);
  } catch (error) {
    // The other suites still say what they can.
    process.exitCode = 1;
    process.stderr.write(`${name} could not be measured: ${text(error)}\n`);
  }
}
mkdirSync(values.folder, { recursive: true });
const machine = describeMachine(values.folder);
if (values.json !== undefined) {
  writeFileSync(values.json, `${JSON.stringify({ machine, suites: reports }, null, 2)}\n`);
}
if (values.publish) await publish(reports, machine);
process.exit();

async function measure(name: string): Promise<SuiteResult> {
  const suite = dataPlane[name] ?? others[name];
  if (suite === undefined) return { figures: await measureStart(), cells: [], plots: [], notes: [] };
  const { quick, folder, replicator, lab, temporal } = values;
  const bench = openBench({ rounds, quick, folder, replicator, lab, vms, temporal });
  try {
    return await suite(bench);
  } finally {
    await bench.close();
    if (values.forget) rmSync(bench.cache, { recursive: true });
  }
}

function text(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${text(error.cause)}`;
}
