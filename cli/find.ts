// Finds what people name: a site by name or id, a VM by name, a migration by id or by the name of its VM.
// Ambiguity is a failure that lists the choices, never a guess.
import { inventory, migration, migrationPage, siteList, vmList, vmMigration } from '../contracts/rest.ts';
import type { Inventory, Migration, Site, Vm, VmMigration } from '../contracts/rest.ts';
import type { ApiClient } from './client.ts';
import { CliError } from './failure.ts';

export async function listSites(client: ApiClient): Promise<Site[]> {
  return (await client.get('/sites', siteList)).items;
}

export async function findSite(client: ApiClient, nameOrId: string): Promise<Site> {
  const sites = await listSites(client);
  return pick('site', nameOrId, sites, (site) => [site.id, site.name], 'List them with "landfall site list".');
}

export function readInventory(client: ApiClient, siteId: string): Promise<Inventory> {
  return client.get(`/sites/${siteId}/inventory`, inventory);
}

export async function listVms(client: ApiClient, siteId: string): Promise<Vm[]> {
  return (await client.get(`/sites/${siteId}/vms`, vmList)).items;
}

/** The only one whose keys hold the text; otherwise a failure that names what there is. */
export function pick<Item>(
  kind: string,
  wanted: string,
  items: readonly Item[],
  keysOf: (item: Item) => readonly string[],
  remedy: string,
): Item {
  const matching = items.filter((item) => keysOf(item).includes(wanted));
  const [only, another] = matching;
  if (only !== undefined && another === undefined) return only;
  if (only !== undefined) {
    const ids = matching.map((item) => keysOf(item)[0]).join(', ');
    throw new CliError(`More than one ${kind} is called ${wanted}`, `They are ${ids}.`, 'Give the id.');
  }
  const names = items.map((item) => keysOf(item).at(-1)).join(', ');
  throw new CliError(
    `There is no ${kind} ${wanted}`,
    names === '' ? `There is none at all.` : `There are: ${names}.`,
    remedy,
  );
}

/** The only one there is, when none is named. */
export function pickOnly<Item>(
  kind: string,
  items: readonly Item[],
  nameOf: (item: Item) => string,
  remedy: string,
): Item {
  const [only, another] = items;
  if (only !== undefined && another === undefined) return only;
  const names = items.map(nameOf).join(', ');
  throw new CliError(`Say which ${kind}`, only === undefined ? 'There is none.' : `There are: ${names}.`, remedy);
}

/** A migration: by its id, or by its only VM's name or id. One of several VMs does not stand for the others. */
export async function findMigration(client: ApiClient, wanted: string): Promise<Migration> {
  if (wanted.startsWith('mig_')) return client.get(`/migrations/${wanted}`, migration);
  const { migrationId, vm } = await findVmMigration(client, wanted);
  const found = await client.get(`/migrations/${migrationId}`, migration);
  const others = found.vmMigrations.length - 1;
  if (others === 0) return found;
  throw new CliError(
    'This is for a whole migration',
    `${vm.name} is migrated together with ${others} other VM${others === 1 ? '' : 's'}.`,
    `Give the id of the migration: ${found.id}.`,
  );
}

/** One VM's migration: by its id, by the id of a migration of one VM, or by the VM's name (the newest). */
export async function findVmMigration(client: ApiClient, wanted: string): Promise<VmMigration> {
  if (wanted.startsWith('vmm_')) return client.get(`/vm-migrations/${wanted}`, vmMigration);
  if (wanted.startsWith('mig_')) {
    const { vmMigrations } = await findMigration(client, wanted);
    return pickOnly(
      'VM of this migration',
      vmMigrations,
      (member) => `${member.vm.name} (${member.id})`,
      'Give its id.',
    );
  }
  const recent = await client.get('/migrations', migrationPage, { limit: 100 });
  const members = recent.items.flatMap((item) => item.vmMigrations).filter((member) => member.vm.name === wanted);
  const active = members.filter((member) => member.endedAt === null);
  const [newest] = active.length > 0 ? active : members;
  if (newest !== undefined && active.length <= 1) return newest;
  if (newest === undefined)
    throw new CliError(
      'Nothing to be found',
      `No migration of a VM ${wanted} is known.`,
      'List them with "landfall migrate list".',
    );
  return pickOnly('migration', active, (member) => member.id, 'Give its id.');
}
