// The step table covers every activity that has an effect on a site or a replicator; what is not in it is listed with its
// reason. The tests in test/steps run each row on real parts, so an activity without a row would go untested.
import { expect, test } from 'vitest';
import { makeActivities, type Services } from '../../activities/index.ts';
import type {
  AllActivities,
  ClusterActivities,
  JanitorActivities,
  RecordsActivities,
} from '../../contracts/activities.ts';
import { stepTable } from '../../core/index.ts';
import { preparingSteps, stepRows, undoneAfter } from './steps.ts';

/** Activities without a row. */
const withoutRow: Readonly<
  Record<keyof (RecordsActivities & ClusterActivities & JanitorActivities), string> &
    Partial<Record<keyof AllActivities, string>>
> = {
  readVmMigration: 'reads the records',
  claimAdmission: 'reads the records, and claims, which may come twice',
  notePhase: 'writes the records for people',
  noteApproval: 'writes the records for people',
  readQueue: 'reads the records',
  noteQueue: 'writes the records for people',
  readGroup: 'reads the records',
  noteMigration: 'writes the records for people',
  notePaused: 'writes a wish to the records; the supervisor carries it out',
  noteDecision: 'writes the records for people',
  noteChangedPlan: 'writes the records',
  readLeases: 'reads the records',
  noteAdmission: 'writes the records for people',
  findDeadClaims: 'reads the records',
  readCapacities: 'reads the records',
  findOrphans: 'reads',
  findStrayMigrations: 'reads',
  findLeftovers: 'reads',
  adoptOrphan: 'starts a workflow under a fixed id; tested with the janitor',
  restartMigration: 'starts a workflow under a fixed id; tested with the janitor',
  noteRepair: 'writes the audit log',
  prepareCluster: 'a step of a cluster’s configuration, which has no undo; run the same ways in test/steps',
  writeHostOptions: 'a step of a cluster’s configuration, which has no undo; run the same ways in test/steps',
  installHostPackage: 'a step of a cluster’s configuration, which has no undo; run the same ways in test/steps',
  enrolHost: 'a step of a cluster’s configuration, which has no undo; run the same ways in test/steps',
  ensureStoragePolicy: 'a step of a cluster’s configuration, which has no undo; run the same ways in test/steps',
  finishClusterSetup: 'writes the records for people',
  requestGuestShutDown: 'a command of a person beside the steps; the guest decides what becomes of it',
  changeDials: 'a command of a person beside the steps; the supervisor repeats it',
  settleOwner: 'asks who owns the disks when a run that was ended in the middle is carried on; tested with orphans',
  waitForFinalGuest: 'only waits, beside the steps, and completes the figures',
};

test('every activity is in the table, or listed with the reason why not', () => {
  // Nothing is called, so nothing is needed.
  const services = { database: {} } as unknown as Services;
  const inTable = new Set(stepRows.flatMap((row) => [...row.does, ...row.undoneBy]));
  const listed = Object.keys(withoutRow);
  expect([...inTable, ...listed].sort()).toEqual(Object.keys(makeActivities(services)).sort());
});

test('rows stand in the order in which people see the steps', () => {
  const shown = stepTable.map(({ step }) => step).filter((step) => stepRows.some((row) => row.step === step));
  expect(stepRows.map(({ step }) => step)).toEqual(shown);
});

test('what is undone is what was begun, last first', () => {
  expect(undoneAfter('queued')).toEqual([]);
  for (const [index, row] of preparingSteps.entries()) {
    const begun = preparingSteps.slice(0, index + 1).filter(({ undo }) => undo !== undefined);
    expect(undoneAfter(row.step)).toEqual(begun.reverse());
  }
});
