/**
 * What workflows, workers and clients of the workflow engine share: names, search attributes, activity
 * options, failures. Safe inside the workflow sandbox; only `client.ts`, which is not, is imported by itself.
 */
export * from './activity-options.ts';
export * from './failures.ts';
export * from './names.ts';
export * from './search-attributes.ts';
