/**
 * The pure domain: states, ids, limits, errors, eligibility and the final VM's specification. No I/O, no
 * clock, no randomness, no imports from outside this folder. Start reading at `states.ts`.
 */
export * from './admission.ts';
export type { Claim } from './admission-turn.ts';
export { capacityOf, sumOf, type Tokens } from './tokens.ts';
export * from './alarms.ts';
export * from './dials.ts';
export * from './eligibility.ts';
export * from './errors.ts';
export * from './final-policy.ts';
export * from './group.ts';
export * from './ids.ts';
export * from './limits.ts';
export * from './objectives.ts';
export * from './projection.ts';
export * from './queue.ts';
export * from './records.ts';
export * from './runbook.ts';
export * from './states.ts';
