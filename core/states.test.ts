import { describe, expect, it } from 'vitest';
import { isEnded, stateOfStep, stateTable, statusOf, statusOfMembers, stepTable, statuses } from './states.ts';

describe('states', () => {
  it('gives every step a state of the product and every state a status', () => {
    for (const { step, state } of stepTable) {
      expect(stateOfStep(step)).toBe(state);
      expect(statuses).toContain(statusOf(state));
    }
    expect(new Set(Object.values(stateTable))).toEqual(new Set(statuses));
  });

  it('ends in four ways only', () => {
    expect(statuses.filter(isEnded)).toEqual(['Completed', 'Terminated', 'Failed', 'Aborted']);
  });

  it.each([
    [['Running', 'Queued'], 'Queued'],
    [['Completed', 'Ready To Migrate'], 'Ready To Migrate'],
    [['Failed', 'Running'], 'Running'],
    [['Failed', 'Completed'], 'Completed'],
    [['Terminated', 'Failed'], 'Failed'],
    [['Terminated', 'Terminated'], 'Terminated'],
  ] as const)('M2 takes %j together as %s', (members, status) => {
    expect(statusOfMembers(members)).toBe(status);
  });
});
