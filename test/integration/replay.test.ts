// Every recorded history is replayed against the workflows as they are now: a change that would break what runs shows here.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DefaultLogger, Runtime, Worker, bundleWorkflowCode } from '@temporalio/worker';
import { beforeAll, describe, expect, it } from 'vitest';
import * as workflows from '../../workflows/index.ts';

const folder = fileURLToPath(new URL('../histories', import.meta.url));
const files = readdirSync(folder).filter((name) => name.endsWith('.json'));
const read = (
  name: string,
): { events: { workflowExecutionStartedEventAttributes?: { workflowType: { name: string } } }[] } =>
  JSON.parse(readFileSync(join(folder, name), 'utf8')) as ReturnType<typeof read>;

let workflowBundle: Awaited<ReturnType<typeof bundleWorkflowCode>>;
beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const workflowsPath = fileURLToPath(new URL('../../workflows/index.ts', import.meta.url));
  workflowBundle = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('ERROR') });
});

describe('recorded histories', () => {
  it('cover every workflow', () => {
    const recorded = files.map(
      (name) => read(name).events[0]?.workflowExecutionStartedEventAttributes?.workflowType.name,
    );
    expect(new Set(recorded)).toEqual(new Set(Object.keys(workflows)));
  });

  it.each(files)('M10 %s replays', async (name) => {
    await Worker.runReplayHistory({ workflowBundle }, read(name));
  });

  it('a history of another course is noticed', async () => {
    const [name = ''] = files.filter((file) => file.startsWith('vm-auto-final'));
    const text = readFileSync(join(folder, name), 'utf8').replaceAll('ensureAgentIso', 'createShadowVm');
    await expect(Worker.runReplayHistory({ workflowBundle }, JSON.parse(text))).rejects.toThrow(
      /[Nn]ondeterminism|TMPRL1100/,
    );
  });
});
