/**
 * How activities are tried: time limits, heartbeats, retries, one preset per kind. Every activity beats by
 * itself (the worker's interceptor does it), so that a killed worker costs seconds, not the whole limit.
 */
import type { ActivityOptions } from '@temporalio/common';

/** A worker that says nothing for so long is taken for dead. */
const heartbeatTimeout = '10 seconds';

const patient = {
  initialInterval: '1 second',
  backoffCoefficient: 2,
  maximumInterval: '30 seconds',
} as const;

/** Database only: short, and tried until it works. */
export const recordsOptions: ActivityOptions = {
  startToCloseTimeout: '20 seconds',
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 2, maximumInterval: '10 seconds' },
};

/** A step towards a running replication: an hour of trouble fails it, so that the queue moves on. */
export const stepOptions: ActivityOptions = {
  startToCloseTimeout: '20 minutes',
  scheduleToCloseTimeout: '1 hour',
  heartbeatTimeout,
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: patient,
};

/** Undoing and going forward after the hand-over: no end, trouble is shown and tried again. */
export const tirelessOptions: ActivityOptions = {
  startToCloseTimeout: '20 minutes',
  heartbeatTimeout,
  retry: { ...patient, initialInterval: '500 milliseconds' },
};

/** The supervisor: long, re-attaches after any loss. Cancelling lets go of it at once and leaves the job running. */
export const superviseOptions: ActivityOptions = {
  startToCloseTimeout: '13 hours',
  // Taking over from one that only seemed dead does no harm, so it may be done sooner.
  heartbeatTimeout: '6 seconds',
  cancellationType: 'TRY_CANCEL',
  retry: { initialInterval: '500 milliseconds', backoffCoefficient: 1.5, maximumInterval: '5 seconds' },
};

/** Between stop and hand-over every second counts: quick, and given up after minutes of trouble. */
export const finalOptions: ActivityOptions = {
  startToCloseTimeout: '30 minutes',
  scheduleToCloseTimeout: '2 hours',
  heartbeatTimeout,
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: { initialInterval: '200 milliseconds', backoffCoefficient: 1.5, maximumInterval: '5 seconds' },
};

/** Waits for a person or a guest, for as long as it takes. */
export const waitOptions: ActivityOptions = {
  startToCloseTimeout: '30 days',
  heartbeatTimeout,
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
  retry: patient,
};

/** One command of a person: it must show at once. */
export const commandOptions: ActivityOptions = {
  startToCloseTimeout: '15 seconds',
  scheduleToCloseTimeout: '2 minutes',
  retry: { initialInterval: '200 milliseconds', backoffCoefficient: 1.5, maximumInterval: '2 seconds' },
};

/** The janitor's: what does not work now is tried again by its next round. */
export const janitorOptions: ActivityOptions = {
  startToCloseTimeout: '10 minutes',
  scheduleToCloseTimeout: '20 minutes',
  heartbeatTimeout,
  retry: { ...patient, maximumAttempts: 3 },
};
