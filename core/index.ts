/**
 * The pure domain: states, ids, limits, errors, eligibility and the final VM's specification. No I/O, no
 * clock, no randomness, no imports from outside this folder. Start reading at `states.ts`.
 */
export * from './assert-never.ts';
export * from './dials.ts';
export * from './eligibility.ts';
export * from './errors.ts';
export * from './ids.ts';
export * from './limits.ts';
export * from './records.ts';
export * from './states.ts';
