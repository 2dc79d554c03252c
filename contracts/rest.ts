// The REST contract in one place: import from here. Each part has its own file.
export * from './events.ts';
export * from './rest-alarms.ts';
export * from './rest-common.ts';
export * from './rest-keys.ts';
export * from './rest-migrations.ts';
export * from './rest-plans.ts';
export * from './rest-sites.ts';
export * from './rest-system.ts';
