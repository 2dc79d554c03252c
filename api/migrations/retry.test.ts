// The place of a retry: what is changed, what stays, and what of it is checked. vCenters are replaced by what they say.
import { beforeEach, expect, it, vi } from 'vitest';
import type { RetryRequest } from '../../contracts/rest.ts';
import type { VmMigrationDetails } from '../../db/index.ts';
import type { Services } from '../services.ts';
import type { CheckedSource } from './check-sources.ts';
import { checkRetry } from './retry.ts';

const gib = 2n ** 30n;
const ref = (type: string, value: string) => ({ type, value });
const said = vi.hoisted(() => ({ freeBytes: 0n }));

vi.mock('./check-sources.ts', () => ({
  describeSource: async (): Promise<Partial<CheckedSource>> => ({
    site: { apiVersion: '8.0.0' } as CheckedSource['site'],
    facts: { name: 'app', instanceUuid: 'uuid-1' } as CheckedSource['facts'],
    host: undefined,
    networks: ['front', 'back'],
    member: { disks: [{ capacityBytes: 4n * gib }] } as unknown as CheckedSource['member'],
  }),
}));
vi.mock('../../vsphere/index.ts', () => ({
  readInventory: async () => ({
    clusters: [cluster('domain-c1', ['network-1', 'network-2']), cluster('domain-c2', ['network-1', 'network-2'])],
    datastores: ['datastore-1', 'datastore-2'].map((id) => ({
      ref: ref('Datastore', id),
      name: id,
      accessible: true,
    })),
    networks: [
      { ref: ref('Network', 'network-1'), name: 'blue' },
      { ref: ref('Network', 'network-2'), name: 'green' },
    ],
    hosts: [],
  }),
  listVms: async () => [],
  readDatastore: async () => ({ freeBytes: said.freeBytes }),
}));

function cluster(id: string, networks: readonly string[]) {
  return {
    ref: ref('ClusterComputeResource', id),
    name: id,
    hosts: [],
    datastores: ['datastore-1', 'datastore-2'].map((datastore) => ref('Datastore', datastore)),
    networks: networks.map((network) => ref('Network', network)),
  };
}

const services = {
  database: { prisma: { site: { findUnique: async () => ({ id: 'site_b', name: 'b' }) } } },
  sites: {
    withSite: (_id: string, work: (session: unknown) => unknown) => work({ about: { apiVersion: '8.0.0' } }),
  },
} as unknown as Services;

/** `elsewhere` is a network of another member of the same migration, mapped to one that this cluster need not have. */
const networks = [
  { source: 'front', destination: 'blue' },
  { source: 'back', destination: 'green' },
  { source: 'elsewhere', destination: 'red' },
];
const row = {
  sourceSiteId: 'site_a',
  vmMoref: 'vm-1',
  destination: null,
  settings: null,
  migration: {
    destination: { siteId: 'site_b', clusterMoref: 'domain-c1', datastoreMoref: 'datastore-1', networks },
    settings: {},
  },
} as unknown as VmMigrationDetails;

const place = async (destination: NonNullable<RetryRequest['destination']>) =>
  (await checkRetry(row, { destination }, services)).destination;

beforeEach(() => {
  said.freeBytes = 100n * gib;
});

it('changes the network that is named and keeps the others', async () => {
  const changed = await place({ networks: [{ source: 'front', destination: 'green' }] });
  expect(changed?.networks).toEqual([
    { source: 'front', destination: 'green' },
    { source: 'back', destination: 'green' },
  ]);
});

it('asks nothing of another cluster for networks of other members', async () => {
  expect(await place({ clusterMoref: 'domain-c2' })).toMatchObject({
    clusterMoref: 'domain-c2',
    networks: networks.slice(0, 2),
  });
});

it('still refuses what is named and is not there', async () => {
  const unknown = place({ networks: [{ source: 'front', destination: 'red' }] });
  await expect(unknown).rejects.toMatchObject({ code: 'NETWORK_UNKNOWN' });
});

it('asks for free space on another datastore only: on its own the disks have theirs', async () => {
  said.freeBytes = gib;
  expect(await place({ networks: [{ source: 'front', destination: 'green' }] })).toMatchObject({
    datastoreMoref: 'datastore-1',
  });
  await expect(place({ datastoreMoref: 'datastore-2' })).rejects.toMatchObject({ code: 'DATASTORE_FULL' });
});
