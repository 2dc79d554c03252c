/**
 * `npm test`: every check of the repository, quick ones first, each with its time. Goes on after a failure, so that one run
 * shows everything, and ends with the line "N passed, N failed". `npm test -- lint unit` runs only these stages.
 * The set-up has run before; this must not build anything that a user needs.
 */
import { mkdirSync } from 'node:fs';
import { runStage, stopRunningStages } from './stages/run-stage.ts';
import { inTurns, stages } from './stages/stages.ts';

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !stages.some((stage) => stage.name === name));
if (unknown.length > 0) {
  process.stderr.write(
    `No such stage: ${unknown.join(', ')}. Stages: ${stages.map((stage) => stage.name).join(', ')}\n`,
  );
  process.exit(2);
}

mkdirSync('build/logs', { recursive: true });
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    stopRunningStages();
    process.exit(130);
  });
}

const begunMs = performance.now();
const total = { passed: 0, failed: 0 };
const failedStages: string[] = [];
for (const together of inTurns(stages.filter(({ name }) => asked.length === 0 || asked.includes(name)))) {
  await Promise.all(
    together.map(async (stage) => {
      const { passed, failed } = await runStage(stage);
      total.passed += passed;
      total.failed += failed;
      if (failed > 0) failedStages.push(stage.name);
    }),
  );
}

const minutes = ((performance.now() - begunMs) / 60_000).toFixed(1);
if (failedStages.length > 0) process.stdout.write(`Failed: ${failedStages.join(', ')} (logs in build/logs)\n`);
process.stdout.write(`All stages took ${minutes} min\n${total.passed} passed, ${total.failed} failed\n`);
process.exitCode = total.failed === 0 ? 0 : 1;
