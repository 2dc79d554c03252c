import type { ContinueAsNewOptions, WorkflowInfo } from '@temporalio/workflow';
import { beforeEach, expect, it, vi } from 'vitest';
import { beginAnew, shouldBeginAnew } from './begin-anew.ts';

type Info = Pick<
  WorkflowInfo,
  | 'continueAsNewSuggested'
  | 'historyLength'
  | 'targetWorkerDeploymentVersionChanged'
  | 'currentDeploymentVersion'
  | 'memo'
>;

const engine = vi.hoisted((): { info: unknown; next: unknown } => ({ info: undefined, next: undefined }));
vi.mock('@temporalio/workflow', () => ({
  workflowInfo: () => engine.info,
  makeContinueAsNewFunc: (options: unknown) => async () => {
    engine.next = options;
  },
}));

const eventsMax = 500;

/** A run that works with this version while another is or is not the current one. */
function run(buildId: string, isCurrent: boolean, more: Partial<Info> = {}): void {
  engine.info = {
    continueAsNewSuggested: false,
    historyLength: 10,
    targetWorkerDeploymentVersionChanged: !isCurrent,
    currentDeploymentVersion: { deploymentName: 'landfall', buildId },
    ...more,
  } satisfies Info;
}

/** What the next run gets from this one. */
async function renewed(): Promise<ContinueAsNewOptions> {
  await beginAnew();
  return engine.next as ContinueAsNewOptions;
}

beforeEach(() => run('1.0.0-old', true));

it('goes on while its history is short and its version is the current one', () => {
  expect(shouldBeginAnew(eventsMax)).toBe(false);
});

it('begins anew with a long history, whoever calls it long, and asks for the current version', async () => {
  run('1.0.0-old', true, { historyLength: eventsMax });
  expect(shouldBeginAnew(eventsMax)).toBe(true);
  run('1.0.0-old', true, { continueAsNewSuggested: true });
  expect(shouldBeginAnew(eventsMax)).toBe(true);
  expect((await renewed()).initialVersioningBehavior).toBe('AUTO_UPGRADE');
});

it('leaves a version that is not the current one any more, and does so again at the next upgrade', async () => {
  run('1.0.0-old', false);
  expect(shouldBeginAnew(eventsMax)).toBe(true);
  const { memo } = await renewed();
  run('1.1.0-new', true, { ...(memo && { memo }) });
  expect(shouldBeginAnew(eventsMax)).toBe(false);
  run('1.1.0-new', false, { ...(memo && { memo }) });
  expect(shouldBeginAnew(eventsMax)).toBe(true);
});

it('does not begin anew again and again where it is left with its version', async () => {
  run('1.0.0-old', false);
  const { memo } = await renewed();
  run('1.0.0-old', false, { ...(memo && { memo }) });
  expect(shouldBeginAnew(eventsMax)).toBe(false);
  run('1.0.0-old', false, { ...(memo && { memo }), historyLength: eventsMax });
  expect(shouldBeginAnew(eventsMax)).toBe(true);
  const again = await renewed();
  run('1.0.0-old', false, { ...(again.memo && { memo: again.memo }) });
  expect(shouldBeginAnew(eventsMax)).toBe(false);
});
