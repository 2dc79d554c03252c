// Writes the configuration ISO of a shadow VM: one file, /config.json, with the one-time enrolment secret of its receiver.
// The secret goes through a private temporary folder; it must never stand in an argument, an error or a log.
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { MigrationError } from '../../core/index.ts';

const run = promisify(execFile);
const timeLimitMs = 60_000;

/** What a receiver is told at its first start. */
export interface ReceiverConfiguration {
  readonly installationId: string;
  readonly agentId: string;
  readonly vmMigrationId: string;
  readonly authorityPem: string;
  /** Base64; a secret. */
  readonly enrolSecret: string;
}

/** The image's bytes. Small enough to be held in memory (under 1 MiB) and to be uploaded in one request. */
export async function buildConfigurationIso(configuration: ReceiverConfiguration): Promise<Buffer> {
  return withPrivateFolder(async (folder) => {
    const image = join(folder, 'configuration.iso');
    await makeImage(folder, image, configuration);
    return readFile(image);
  });
}

/** Writes the image to `path` (0600), whole or not at all; an older one is replaced. */
export async function writeConfigurationIso(configuration: ReceiverConfiguration, path: string): Promise<void> {
  const image = await buildConfigurationIso(configuration);
  const folder = await mkdtemp(join(dirname(path), '.configuration-'));
  try {
    const temporary = join(folder, 'image');
    const file = await open(temporary, 'wx', 0o600);
    await file.writeFile(image);
    await file.sync();
    await file.close();
    await rename(temporary, path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function makeImage(folder: string, image: string, configuration: ReceiverConfiguration): Promise<void> {
  const source = join(folder, 'config.json');
  await writeFile(source, `${JSON.stringify(configuration, null, 2)}\n`, { mode: 0o600 });
  const command = [
    '-as',
    'mkisofs',
    '-quiet',
    '-V',
    'LANDFALL_CONF',
    '-J',
    '-r',
    '-o',
    image,
    '-graft-points',
    `config.json=${source}`,
  ];
  try {
    await run('xorriso', command, { timeout: timeLimitMs });
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    throw new MigrationError('ISO_FAILED', missing ? 'xorriso is not installed' : 'xorriso failed', { cause: error });
  }
}

async function withPrivateFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'landfall-configuration-'));
  try {
    await chmod(folder, 0o700);
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
