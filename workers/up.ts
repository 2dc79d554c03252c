/**
 * `landfall up`: the whole installation in the foreground. Says in plain lines what happens, stops cleanly on Ctrl-C,
 * and prints where things are once all of it answers. It must not do any part's work itself.
 */
import { mkdirSync } from 'node:fs';
import { toMigrationError } from '../core/index.ts';
import { lockHome } from './embedded/home-lock.ts';
import { openPartsFile } from './embedded/parts-file.ts';
import { runningParts, startInstallation, type Installation } from './installation.ts';
import { placesFrom } from './places.ts';
import { upHelp, upOptionsFrom, type UpOptions } from './up-options.ts';

const begunMs = performance.now();

function readOptions(): UpOptions {
  try {
    return upOptionsFrom(process.argv.slice(2), process.env);
  } catch (error) {
    process.stderr.write(`landfall up: ${error instanceof Error ? error.message : String(error)}\n\n${upHelp}`);
    process.exit(2);
  }
}

function announce({ api, temporalUi }: Installation, json: boolean): void {
  if (json) {
    const { firstToken: _secret, ...shown } = api;
    process.stdout.write(`${JSON.stringify({ ...shown, temporalUi: temporalUi ?? null })}\n`);
    return;
  }
  const seconds = ((performance.now() - begunMs) / 1000).toFixed(1);
  const lines = [
    `Landfall is ready after ${seconds} s.`,
    `  API            ${String(api['api'])}   (reference: ${String(api['api'])}/docs)`,
    ...(temporalUi === undefined ? [] : [`  Temporal UI    ${temporalUi}`]),
    ...(typeof api['firstToken'] === 'string'
      ? [`  first token    ${api['firstToken']}   (shown only this once)`]
      : []),
    `  token file     ${String(api['tokenFile'])}`,
    'Ctrl-C stops it.',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

function fail(error: unknown): void {
  const known = toMigrationError(error);
  const cause = known.code === 'INTERNAL' && known.cause instanceof Error ? `: ${known.cause.message}` : '';
  process.stderr.write(`landfall up: ${known.safeMessage}${cause}\nRemedy: ${known.remedy}\n`);
}

async function main(): Promise<number> {
  // Whoever read the output may be gone; the installation goes on and still stops cleanly.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
  const options = readOptions();
  if (options.help) {
    process.stdout.write(upHelp);
    return 0;
  }
  const say = (line: string): void => {
    (options.json ? process.stderr : process.stdout).write(`landfall: ${line}\n`);
  };
  const places = placesFrom(process.env);
  mkdirSync(places.home, { recursive: true });
  const lock = await lockHome(places.home, say);
  const partsFile = openPartsFile(places.home);
  const parts = runningParts(lock, partsFile, say);
  const asked = new Promise<'asked'>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve('asked'));
  });
  try {
    const started = await Promise.race([startInstallation(places, options, parts), asked]);
    if (started !== 'asked') {
      announce(started, options.json);
      await asked;
    }
    say('stopping');
    return 0;
  } catch (error) {
    fail(error);
    return 1;
  } finally {
    await parts.stopAll();
    partsFile.remove();
    lock.release();
    say('stopped');
  }
}

main().then(
  (status) => process.exit(status),
  (error: unknown) => {
    fail(error);
    process.exit(1);
  },
);
