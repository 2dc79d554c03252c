// What is said beside the work of an activity: before it, after it, and to whom.
import { WorkflowNotFoundError } from '@temporalio/client';
import { beforeEach, expect, it, vi } from 'vitest';
import type { AllActivities, PhaseNote, VmRef } from '../contracts/activities.ts';
import { notingFirst } from './noting-first.ts';

const engine = vi.hoisted(() => ({ signal: vi.fn<(...given: unknown[]) => Promise<void>>() }));
vi.mock('@temporalio/activity', () => ({
  Context: { current: () => ({ info: { attempt: 1 } }) },
  getClient: () => ({
    workflow: {
      getHandle: (id: string) => ({ signal: (...given: unknown[]) => engine.signal(id, ...given) }),
    },
  }),
}));

const said: string[] = [];
let outcome = 'ready';

const activities = notingFirst({
  notePhase: async ({ step }: PhaseNote) => {
    said.push(`note ${step}`);
    return { pausedSite: null };
  },
  stopSourceVm: async (input: VmRef) => {
    said.push(`work ${Object.keys(input).join(' ')}`);
    return { token: 1 };
  },
  superviseReplication: async () => ({ outcome }),
} as Partial<Record<keyof AllActivities, unknown>> as AllActivities);

const ref = { vmMigrationId: 'vmm_1' };
const note = { ...ref, step: 'shutDownGuest' } as const;
const after = { ...ref, step: 'freeze' } as const;
const tell = [{ workflowId: 'mig_1', signal: 'memberReport', args: [1] }];

beforeEach(() => {
  said.length = 0;
  engine.signal.mockReset();
  engine.signal.mockImplementation(async (id, signal) => {
    said.push(`tell ${String(id)} ${String(signal)}`);
  });
});

it('says that it begins, works, says what comes after it, and tells others', async () => {
  await activities.stopSourceVm({ ...ref, note, after, tell });
  expect(said).toEqual(['note shutDownGuest', 'work vmMigrationId', 'note freeze', 'tell mig_1 memberReport']);
});

it('a supervisor that ends otherwise than it was to says nothing', async () => {
  const input = { ...ref, after, tell, until: 'ready', detachAfterSeconds: 1 } as const;
  outcome = 'detached';
  await activities.superviseReplication(input);
  expect(said).toEqual([]);
  outcome = 'ready';
  await activities.superviseReplication(input);
  expect(said).toEqual(['note freeze', 'tell mig_1 memberReport']);
});

it('a workflow that is gone needs no news; an engine that is away has the work done again', async () => {
  engine.signal.mockRejectedValueOnce(new WorkflowNotFoundError('gone', 'mig_1', undefined));
  await activities.stopSourceVm({ ...ref, tell });
  engine.signal.mockRejectedValueOnce(new Error('14 UNAVAILABLE'));
  await expect(activities.stopSourceVm({ ...ref, tell })).rejects.toThrow('UNAVAILABLE');
});
