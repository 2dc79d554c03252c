import { describe, expect, it } from 'vitest';
import { checkRunbook, emptyRunbook, powerOnSteps, shutDownSteps, stayingOff, type Runbook } from './runbook.ts';

const step = (...members: string[]) => ({ members, delaySeconds: 0, timeoutSeconds: 60, onFailure: 'stop' }) as const;
const runbook: Runbook = {
  shutDown: [step('web'), step('db', 'cache')],
  powerOn: [
    { ...step('db'), waitFor: 'tools' },
    { ...step('web'), waitFor: 'address' },
  ],
};

describe('runbook', () => {
  it('M4 stops members in its order and the rest at the end', () => {
    const members = shutDownSteps(runbook, ['web', 'db', 'cache', 'batch'], 60).map((item) => item.members);
    expect(members).toEqual([['web'], ['db', 'cache'], ['batch']]);
    expect(shutDownSteps(emptyRunbook, ['a', 'b'], 60).map((item) => item.members)).toEqual([['a', 'b']]);
  });

  it('M4 powers on whom it names, and leaves the rest off', () => {
    expect(powerOnSteps(runbook, ['web', 'db', 'batch']).map((item) => item.members)).toEqual([['db'], ['web']]);
    expect(stayingOff(runbook, ['web', 'db', 'batch'])).toEqual(['batch']);
    expect(stayingOff(emptyRunbook, ['a'])).toEqual(['a']);
  });

  it('M4 leaves out members that do not take part', () => {
    expect(shutDownSteps(runbook, ['cache'], 60).map((item) => item.members)).toEqual([['cache']]);
    expect(powerOnSteps(runbook, ['web'])).toEqual([runbook.powerOn[1]]);
  });

  it('finds strangers and repetitions', () => {
    const wrong: Runbook = { shutDown: [step('web', 'ghost'), step('web')], powerOn: [] };
    expect(checkRunbook(wrong, ['web'])).toEqual([
      { pointer: '/shutDown/0/members/1', message: 'ghost is not a member of the group' },
      { pointer: '/shutDown/1/members/0', message: 'web stands in this order already' },
    ]);
    expect(checkRunbook(runbook, ['web', 'db', 'cache'])).toEqual([]);
  });
});
