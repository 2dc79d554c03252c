import { describe, expect, it } from 'vitest';
import { viewGroup, type GroupMember } from './group.ts';

const member = (
  name: string,
  status: GroupMember['status'],
  decision: GroupMember['decision'] = null,
): GroupMember => ({
  id: `vmm_${name}`,
  name,
  status,
  decision,
});

describe('group', () => {
  it('M2 has the status of its least advanced member', () => {
    const view = viewGroup([member('a', 'Ready To Migrate'), member('b', 'Running')]);
    expect(view).toMatchObject({ status: 'Running', waitingFor: 'b (Running)', taking: ['vmm_a', 'vmm_b'] });
  });

  it('M3 is ready when all are', () => {
    const view = viewGroup([member('a', 'Ready To Migrate'), member('b', 'Ready To Migrate')]);
    expect(view).toMatchObject({ status: 'Ready To Migrate', waitingFor: null });
  });

  it('M3 is held by a member that failed, until somebody decides', () => {
    const lost = [member('a', 'Ready To Migrate'), member('b', 'Failed')];
    expect(viewGroup(lost)).toMatchObject({
      status: 'Ready To Migrate',
      undecided: ['vmm_b'],
      failed: 1,
      waitingFor: 'a decision about b: wait, or go on without',
    });
    const without = [member('a', 'Ready To Migrate'), member('b', 'Failed', 'go-on-without')];
    expect(viewGroup(without)).toMatchObject({ undecided: [], taking: ['vmm_a'], waitingFor: null, failed: 1 });
    const waiting = [member('a', 'Ready To Migrate'), member('b', 'Failed', 'wait')];
    expect(viewGroup(waiting)).toMatchObject({ undecided: [], waitingFor: 'b (Failed)' });
  });

  it('counts what has ended early beside the status', () => {
    const view = viewGroup([member('a', 'Terminated'), member('b', 'Aborted'), member('c', 'Terminated', 'wait')]);
    expect(view).toMatchObject({ failed: 1, terminated: 2, taking: [] });
    expect(viewGroup([member('a', 'Terminated', 'go-on-without')])).toMatchObject({ status: 'Terminated' });
  });
});
