/** All workflows: what a worker's bundle is made of. Their messages stand in `messages.ts`. */
export { admission } from './admission.ts';
export { clusterSetup } from './cluster-setup.ts';
export { groupMigration } from './group-migration/index.ts';
export { independentMigration } from './independent-migration.ts';
export { janitor } from './janitor.ts';
export { vmMigration } from './vm-migration/index.ts';
