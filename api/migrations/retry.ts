// What a person changes for the retry of one VM's migration: judged against both vCenters as at its start. Reads only;
// the workflow decides whether it may, and undoes what was built at the old place.
import type { RetryRequest } from '../../contracts/rest.ts';
import type { RetryChange } from '../../contracts/workflows.ts';
import { effectiveDials, type Dials } from '../../core/index.ts';
import { destinationOf, type VmMigrationDetails } from '../../db/index.ts';
import type { Services } from '../services.ts';
import { merged } from './change-settings.ts';
import { checkDestination } from './check-destination.ts';
import { describeSource } from './check-sources.ts';

/** Throws the refusals of a start: DATASTORE_UNKNOWN, DATASTORE_FULL, NETWORK_UNKNOWN, VSPHERE_NOT_FOUND and so on. */
export async function checkRetry(
  row: VmMigrationDetails,
  { destination, settings }: RetryRequest,
  services: Services,
): Promise<RetryChange> {
  const old = effectiveDials(row.settings as Dials | null, row.migration.settings as unknown as Dials);
  return {
    ...(destination === undefined ? {} : { destination: await checkPlace(row, destination, services) }),
    ...(settings === undefined ? {} : { settings: merged(old, settings) }),
  };
}

async function checkPlace(
  row: VmMigrationDetails,
  change: NonNullable<RetryRequest['destination']>,
  services: Services,
): Promise<NonNullable<RetryChange['destination']>> {
  const before = destinationOf(row, row.migration);
  const source = await describeSource(services, row.sourceSiteId, row.vmMoref);
  const named = change.networks ?? [];
  // The old ones may be those of other members as well, of which this cluster need not know anything.
  const kept = before.networks.filter(
    (old) => source.networks.includes(old.source) && named.every((mapping) => mapping.source !== old.source),
  );
  const destination = {
    siteId: before.siteId,
    clusterMoref: change.clusterMoref ?? before.clusterMoref,
    datastoreMoref: change.datastoreMoref ?? before.datastoreMoref,
    networks: [...named, ...kept],
  };
  // Where the datastore stays, the room that is taken there is this VM's own.
  const checksSpace = destination.datastoreMoref !== before.datastoreMoref;
  return { ...destination, networks: await checkDestination({ destination }, [source], services, { checksSpace }) };
}
