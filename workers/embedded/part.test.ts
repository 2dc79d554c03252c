// A supervised part on a disk that is full: it runs on, and that is said once.
import { expect, it } from 'vitest';
import { supervise, type PartHooks, type PartSpec } from './part.ts';

const ready = `console.log('{"ready":true}')`;

function partOf(script: string, more: Partial<PartSpec> = {}): PartSpec {
  return {
    name: 'api',
    command: [process.execPath, '-e', script],
    env: process.env,
    logFile: '/dev/null',
    stopSignal: 'SIGTERM',
    stopMsMax: 5_000,
    readyMsMax: 10_000,
    ...more,
  };
}

function full(): never {
  throw new Error('ENOSPC: no space left on device, write');
}

/** Runs a part until it is ready for the `times`th time, and gives what was said meanwhile. */
async function linesUntilReady(spec: PartSpec, hooks: Partial<PartHooks>, times = 1): Promise<string[]> {
  const said: string[] = [];
  let readyAgain = (): void => undefined;
  const wanted = new Promise<void>((resolve) => (readyAgain = resolve));
  const say = (line: string): void => {
    said.push(line);
    if (said.filter((text) => text === `${spec.name} runs again`).length === times - 1) readyAgain();
  };
  const part = supervise(spec, { started: () => undefined, ...hooks, say });
  expect(await part.firstReady).toEqual({ ready: true });
  if (times > 1) await wanted;
  await part.stop();
  return said;
}

it('runs, dies and runs again though nothing can be noted of it', async () => {
  const dies = `${ready}; setTimeout(() => process.exit(3), 200)`;
  const said = await linesUntilReady(partOf(dies), { started: full, changed: full }, 2);
  expect(said).toEqual([
    'how api is cannot be noted: ENOSPC: no space left on device, write',
    'api stopped (exit status 3); starting it again in 0.25 s',
    'api runs again',
  ]);
});

it('runs though its output cannot be written', async () => {
  const script = `console.log('one'); console.log('two'); setTimeout(() => ${ready}, 200); setInterval(() => console.log('on'), 5)`;
  expect(await linesUntilReady(partOf(script, { logFile: '/dev/full' }), {})).toEqual([]);
});

it('cannot be started without its log, and says so as of any other failure', async () => {
  const part = supervise(partOf(ready, { logFile: '/nowhere/api.log' }), {
    say: () => undefined,
    started: () => undefined,
  });
  await expect(part.firstReady).rejects.toMatchObject({ code: 'SERVICE_START_FAILED' });
  await part.stop();
});
