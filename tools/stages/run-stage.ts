/**
 * Runs one stage: its output goes to build/logs/test-<stage>.log, its last lines are shown when it fails, and it is ended
 * with everything it started when it takes too long. It must not decide what a stage is.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import type { Stage } from './stages.ts';
import { countResults, type Results } from './count-results.ts';

const tailLines = 60;
const running = new Set<ChildProcess>();

/** The whole process group: servers and guests that a test started must not outlive it. */
function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended by itself meanwhile.
  }
}

export function stopRunningStages(): void {
  for (const child of running) killGroup(child);
}

function runCommand(stage: Stage, command: readonly [string, ...string[]], log: number): Promise<number> {
  return new Promise((resolve) => {
    const [program, ...args] = command;
    const env = { ...process.env, FORCE_COLOR: '0', NO_COLOR: '1', ...stage.env };
    const child = spawn(program, args, { cwd: stage.cwd, env, detached: true, stdio: ['ignore', log, log] });
    running.add(child);
    const limit = setTimeout(() => {
      writeSync(log, `\nended: took longer than ${stage.minutesMax} minutes\n`);
      killGroup(child);
    }, stage.minutesMax * 60_000);
    const done = (status: number): void => {
      clearTimeout(limit);
      running.delete(child);
      resolve(status);
    };
    child.once('error', (error) => {
      writeSync(log, `${program}: ${error.message}\n`);
      done(127);
    });
    child.once('close', (code) => done(code ?? 1));
  });
}

/** Runs the stage and says in one line how it went. */
export async function runStage(stage: Stage): Promise<Results> {
  const begunMs = performance.now();
  const logFile = `build/logs/test-${stage.name}.log`;
  const log = openSync(logFile, 'w');
  rmSync(`build/logs/test-${stage.name}.json`, { force: true });
  let status = 0;
  for (const command of stage.commands) status = status === 0 ? await runCommand(stage, command, log) : status;
  closeSync(log);
  const output = readFileSync(logFile, 'utf8');
  const results = countResults(stage, output, status);
  const seconds = ((performance.now() - begunMs) / 1000).toFixed(1).padStart(7);
  const counts =
    results.failed === 0 ? `${results.passed} passed` : `${results.passed} passed, ${results.failed} FAILED`;
  process.stdout.write(`${stage.name.padEnd(12)} ${seconds} s   ${counts}\n`);
  if (results.failed > 0) {
    const tail = output.trimEnd().split('\n').slice(-tailLines);
    process.stdout.write(`${tail.map((line) => `    ${line}\n`).join('')}`);
  }
  return results;
}
