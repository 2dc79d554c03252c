// Refuses what could never begin: a group takes all its places at once, so it must fit into the limits.
import {
  MigrationError,
  capacityOf,
  impossible,
  needsOf,
  sumOf,
  type Destination,
  type MigrationKind,
} from '../../core/index.ts';
import { readCapacities, type NewMember } from '../../db/index.ts';
import type { Services } from '../services.ts';

export async function checkAdmission(
  services: Services,
  kind: MigrationKind,
  members: readonly NewMember[],
  { siteId: destinationSiteId, datastoreMoref }: Destination,
): Promise<void> {
  if (kind !== 'group') return;
  const capacities = await readCapacities(services.database.prisma);
  const needs = sumOf(members.map((member) => needsOf({ ...member, destinationSiteId, datastoreMoref })));
  const [resource] = impossible(capacities, needs);
  if (resource === undefined) return;
  const limit = capacityOf(capacities, resource);
  throw new MigrationError(
    'ADMISSION_TOO_SMALL',
    `The group needs ${needs[resource] ?? 0} places of ${resource} at once; the limit is ${limit}.`,
  );
}
