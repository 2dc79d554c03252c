/**
 * All activities of the management server, made of the services that they work with. Start reading at
 * `contracts/activities.ts`, which says what each promises.
 */
import type { AllActivities } from '../contracts/activities.ts';
import { clusterActivities } from './cluster/index.ts';
import { janitorActivities } from './records/janitor.ts';
import { notingFirst } from './noting-first.ts';
import { recordsActivities } from './records/index.ts';
import { removalActivities } from './removal.ts';
import { replicationActivities } from './replication/index.ts';
import type { Services } from './services.ts';
import { vsphereActivities } from './vsphere/index.ts';

export { activityInterceptor } from './interceptor.ts';
export { productVersion } from './version.ts';
export { openServices, type Services, type WorkerSettings } from './services.ts';

export function makeActivities(services: Services): AllActivities {
  return notingFirst({
    ...recordsActivities(services),
    ...janitorActivities(services),
    ...vsphereActivities(services),
    ...replicationActivities(services),
    ...removalActivities(services),
    ...clusterActivities(services),
  });
}
