// The configuration ISO: what a shadow VM reads is what was given, and the secret is left nowhere else.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { buildConfigurationIso, writeConfigurationIso } from './configuration-iso.ts';

const run = promisify(execFile);
const configuration = {
  installationId: '0197f0c0-0000-7000-8000-000000000001',
  agentId: 'agent-1',
  vmMigrationId: 'vmm_1',
  authorityPem: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
  enrolSecret: 'c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I=',
};
let folder: string;
let outerTmp: string | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'landfall-iso-test-'));
  outerTmp = process.env['TMPDIR'];
  process.env['TMPDIR'] = folder;
});
afterEach(async () => {
  if (outerTmp === undefined) delete process.env['TMPDIR'];
  else process.env['TMPDIR'] = outerTmp;
  await rm(folder, { recursive: true });
});

it('holds config.json, small enough to be uploaded in one go', async () => {
  const path = join(folder, 'made.iso');
  await writeConfigurationIso(configuration, path);
  expect((await stat(path)).size).toBeLessThan(1024 * 1024);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  const extracted = join(folder, 'config.json');
  await run('xorriso', ['-osirrox', 'on', '-indev', path, '-extract', '/config.json', extracted]);
  expect(JSON.parse(await readFile(extracted, 'utf8'))).toEqual(configuration);
});

it('leaves the secret in no temporary file', async () => {
  expect((await buildConfigurationIso(configuration)).includes(configuration.enrolSecret)).toBe(true);
  expect(await readdir(folder)).toEqual([]);
});

it('says what is missing without saying the secret', async () => {
  const path = process.env['PATH'];
  process.env['PATH'] = folder;
  try {
    const failure: unknown = await buildConfigurationIso(configuration).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'ISO_FAILED', safeMessage: 'xorriso is not installed' });
    expect(JSON.stringify(failure)).not.toContain(configuration.enrolSecret);
    expect(await readdir(folder)).toEqual([]);
  } finally {
    process.env['PATH'] = path;
  }
});
