// Runs the tasks of the set-up: skips what is up to date, two at a time (two cores, one of them waiting for the network),
// says what it does with its time, and shows a command's output only when it failed.
import { spawn } from 'node:child_process';
import { createWriteStream, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Runs a command with its output going to the task's log; throws when it fails.
 * @typedef {(command: string, args: string[], options?: { cwd?: string, env?: NodeJS.ProcessEnv, killAfterMs?: number }) => Promise<void>} Shell
 *
 * A task is done when its outputs exist and its inputs hash to what its stamp holds, or when `done` says so.
 * @typedef {{
 *   name: string, says: string, after?: string[], outputs?: string[],
 *   inputs?: () => string, done?: () => boolean, run: (sh: Shell) => Promise<void>,
 * }} Task
 */

const together = 2;
/** @type {Set<import('node:child_process').ChildProcess>} */
const children = new Set();

/**
 * One set-up at a time in a checkout: a second one waits for the first, and takes over from one that died.
 * @param {string} path
 */
export async function holdLock(path) {
  for (let said = false; ;) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' });
      break;
    } catch {
      const holder = existsSync(path) ? readFileSync(path, 'utf8') : '';
      // Empty: its maker is between making and writing it.
      if (holder !== '' && !existsSync(`/proc/${holder}`)) rmSync(path, { force: true });
      else if (!said && holder !== '') {
        console.log(`setup: waiting for another tools/setup (process ${holder})`);
        said = true;
      }
      await sleep(200);
    }
  }
  process.on('exit', () => {
    for (const child of children) child.kill();
    rmSync(path, { force: true });
  });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));
}

/** @param {Task} task */
const stampOf = (task) => `build/.stamps/${task.name}`;

/** @param {Task} task */
function isDone(task) {
  if (task.done) return task.done();
  const stamp = stampOf(task);
  if (!(task.outputs ?? []).every((path) => existsSync(path)) || !existsSync(stamp)) return false;
  return readFileSync(stamp, 'utf8') === task.inputs?.();
}

/**
 * @param {string} log
 * @returns {Shell}
 */
function shellInto(log) {
  return (command, args, { cwd, env, killAfterMs } = {}) =>
    new Promise((resolve, reject) => {
      const out = createWriteStream(log, { flags: 'a' });
      out.write(`$ ${command} ${args.join(' ')}\n`);
      const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
      const timer = killAfterMs ? setTimeout(() => child.kill('SIGKILL'), killAfterMs) : undefined;
      children.add(child);
      child.stdout.pipe(out, { end: false });
      child.stderr.pipe(out, { end: false });
      child.on('error', (error) => reject(new Error(`${command}: ${error.message}`)));
      child.on('close', (code, signal) => {
        clearTimeout(timer);
        children.delete(child);
        out.end(() =>
          code === 0 ? resolve() : reject(new Error(`${command} ${args[0] ?? ''}: ended with ${signal ?? code}`)),
        );
      });
    });
}

/** @param {Task} task */
async function runTask(task) {
  const begun = performance.now();
  const log = `build/logs/setup-${task.name}.log`;
  const inputs = task.inputs?.();
  rmSync(log, { force: true });
  console.log(`setup: ${task.says} ...`);
  try {
    await task.run(shellInto(log));
  } catch (error) {
    const tail = existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n').slice(-40).join('\n') : '';
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`${tail}\nsetup: ${task.says}: ${why}\nsetup: the whole output is in ${log}`, { cause: error });
  }
  if (inputs) writeFileSync(stampOf(task), inputs);
  console.log(`setup: ${task.says}: ${((performance.now() - begun) / 1000).toFixed(1)} s`);
}

/**
 * Runs what is not up to date, in dependency order; says how many tasks had to run. Ends the process when one fails.
 * A task is judged only when those it comes after are done: their outputs may be its inputs.
 * @param {Task[]} tasks
 * @param {{ only: string[] }} choice names of tasks; with none, all
 */
export async function runTasks(tasks, { only }) {
  const unknown = only.filter((name) => !tasks.some((task) => task.name === name));
  if (unknown.length > 0) {
    console.error(
      `setup: no such task: ${unknown.join(', ')}. There are: ${tasks.map((task) => task.name).join(', ')}`,
    );
    process.exit(2);
  }
  const chosen = only.length > 0 ? tasks.filter((task) => only.includes(task.name)) : tasks;
  const finished = new Set(tasks.filter((task) => !chosen.includes(task)).map((task) => task.name));
  /** @type {Map<string, Promise<void>>} */
  const running = new Map();
  let did = 0;
  while (finished.size < tasks.length) {
    for (const task of chosen) {
      const ready = (task.after ?? []).every((name) => finished.has(name));
      if (finished.has(task.name) || running.has(task.name) || !ready || running.size >= together) continue;
      if (isDone(task)) {
        finished.add(task.name);
        continue;
      }
      did += 1;
      running.set(
        task.name,
        runTask(task).then(() => {
          running.delete(task.name);
          finished.add(task.name);
        }),
      );
    }
    if (running.size === 0) continue;
    try {
      await Promise.race(running.values());
    } catch (error) {
      console.error(error instanceof Error ? error.message : error);
      process.exit(1);
    }
  }
  return did;
}
