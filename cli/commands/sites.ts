// landfall site, vm, cluster: registered vCenters, what they hold, and the clusters that were configured.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import {
  actionAccepted,
  cluster,
  clusterList,
  probedSite,
  site,
  type Cluster,
  type Inventory,
  type Site,
  type Vm,
} from '../../contracts/rest.ts';
import { confirm, readSecret } from '../ask.ts';
import type { ApiClient } from '../client.ts';
import { connected, type CommandContext } from '../command.ts';
import { CliError } from '../failure.ts';
import { findSite, listSites, listVms, pick, pickOnly, readInventory } from '../find.ts';
import { formatBytes, table } from '../format.ts';

export function addSiteCommands(program: Command): void {
  const group = program.command('site').description('registered vCenters');
  connected(
    group
      .command('add <name>')
      .description('register a vCenter; shows its certificate first and pins it')
      .requiredOption('--address <host[:port]>', 'name or address of the vCenter')
      .requiredOption('--user <user>', 'user to log in as')
      .option('--password-file <file>', 'file with the password; - is standard input (or set LANDFALL_SITE_PASSWORD)')
      .option('--thumbprint <sha256>', 'accept exactly this certificate')
      .option('-y, --yes', 'accept the certificate that is shown'),
    addSite,
  );
  connected(group.command('list').description('list registered vCenters'), async ({ client, print }) => {
    print({ items: await listSites(client) }, ({ items }) => siteTable(items));
  });
  connected(
    group
      .command('remove <site>')
      .description('forget a vCenter and its credentials')
      .option('-y, --yes', 'do not ask'),
    async ({ client, print }, [name = ''], options) => {
      const found = await findSite(client, name);
      if (options['yes'] !== true && !(await confirm(`Remove ${found.name} (${found.address})?`))) return;
      await client.delete(`/sites/${found.id}`);
      print({ removed: found.id }, () => `${found.name} is removed; its credentials are gone.`);
    },
  );
  for (const [action, description] of [
    ['pause', 'let everything of a site stand still; new migrations of it wait'],
    ['resume', 'let everything of a paused site go on'],
  ] as const) {
    connected(group.command(`${action} <site>`).description(description), async ({ client, print }, [name = '']) => {
      const found = await findSite(client, name);
      const answer = await client.post(`/sites/${found.id}/actions/${action}`, {}, actionAccepted);
      print(answer, () => `Accepted: ${found.name} is ${action === 'pause' ? 'paused' : 'going on'}.`);
    });
  }
  connected(
    group.command('show <site>').description('clusters, hosts, datastores and networks of a vCenter'),
    async ({ client, print }, [name = '']) => {
      print(await readInventory(client, (await findSite(client, name)).id), inventoryText);
    },
  );
  const vms = program.command('vm').description('virtual machines');
  connected(
    vms
      .command('list')
      .description('list VMs and whether they can be migrated')
      .option('--site <site>', 'only of this site'),
    async ({ client, print }, _positional, options) => {
      const named = options['site'] as string | undefined;
      const sites = named === undefined ? await listSites(client) : [await findSite(client, named)];
      const lists = await Promise.all(sites.map(async (item) => ({ site: item, vms: await listVms(client, item.id) })));
      print({ items: lists.flatMap((list) => list.vms) }, () => vmTable(lists));
    },
  );
}

export function addClusterCommands(program: Command): void {
  const group = program.command('cluster').description('source clusters');
  connected(
    group
      .command('configure <site> [cluster]')
      .description('install the host package on every host of a cluster')
      .option('--no-wait', 'return at once instead of when it is done'),
    configureCluster,
  );
  connected(group.command('list').description('list configured clusters'), async ({ client, print }) => {
    print(
      await client.get('/clusters', clusterList),
      ({ items }) => items.map(clusterText).join('\n\n') || 'No cluster is configured.',
    );
  });
}

async function addSite(
  { client, say, print }: CommandContext,
  [name = '']: readonly string[],
  options: Record<string, unknown>,
) {
  const { address, user, thumbprint, passwordFile } = options as Record<string, string | undefined>;
  const probed = await client.post('/sites/probe', { address }, probedSite);
  say(`${address} is ${probed.productName} (API ${probed.apiVersion}).`);
  say(`Its certificate has the SHA-256 thumbprint\n  ${probed.thumbprintSha256}`);
  if (
    thumbprint === undefined &&
    options['yes'] !== true &&
    !(await confirm('Is this the certificate of your vCenter?'))
  ) {
    throw new CliError(
      'Not registered',
      'The certificate was not accepted.',
      'Compare the thumbprint with the one that the vCenter shows.',
    );
  }
  const password = await readSecret(`Password of ${user}: `, 'LANDFALL_SITE_PASSWORD', passwordFile);
  const body = { name, address, user, password, thumbprintSha256: thumbprint ?? probed.thumbprintSha256 };
  print(await client.post('/sites', body, site), (made) => `${made.name} is registered as ${made.id}.`);
}

async function configureCluster(
  { client, json, say, print }: CommandContext,
  [siteName = '', name]: readonly string[],
  options: Record<string, unknown>,
) {
  const { id: siteId } = await findSite(client, siteName);
  const { clusters } = await readInventory(client, siteId);
  const remedy = `See them with "landfall site show ${siteName}".`;
  const chosen =
    name === undefined
      ? pickOnly('cluster', clusters, (item) => item.name, remedy)
      : pick('cluster', name, clusters, (item) => [item.moref, item.name], remedy);
  let now = await client.post('/clusters/configure', { siteId, clusterMoref: chosen.moref }, cluster);
  if (options['wait'] !== false) now = await followCluster(client, now, (text) => (json ? undefined : say(text)));
  print(now, (done) => (done.state === 'configuring' ? `${done.name} is being configured.` : clusterText(done)));
  if (now.state === 'failed') process.exitCode = 1;
}

async function followCluster(client: ApiClient, started: Cluster, say: (text: string) => void): Promise<Cluster> {
  const told = new Set<string>();
  for (let now = started; ; await sleep(500)) {
    const { items } = await client.get('/clusters', clusterList);
    now = items.find((item) => item.siteId === started.siteId && item.clusterMoref === started.clusterMoref) ?? now;
    for (const host of now.hosts) {
      const line = `${host.name}: ${host.message ?? host.state}`;
      if (!told.has(line)) say(line);
      told.add(line);
    }
    if (now.state !== 'configuring') return now;
  }
}

function clusterText(item: Cluster): string {
  const hosts = item.hosts.map((host) => [host.name, host.address ?? '-', host.state, host.message ?? '']);
  const failure = item.failure === null ? [] : [`${item.failure.message}`, `What to do: ${item.failure.remedy}`];
  return [
    `${item.name} (${item.clusterMoref}): ${item.state}`,
    ...failure,
    table(['host', 'address', 'state', ''], hosts),
  ].join('\n');
}

function siteTable(items: readonly Site[]): string {
  if (items.length === 0) return 'No vCenter is registered. Begin with "landfall site add".';
  return table(
    ['name', 'address', 'product', 'state', 'user', 'id'],
    items.map((item) => [
      item.name,
      item.address,
      item.productName,
      item.pausedAt === null ? 'active' : 'paused',
      item.user,
      item.id,
    ]),
  );
}

function vmTable(lists: readonly { readonly site: Site; readonly vms: readonly Vm[] }[]): string {
  const rows = lists.flatMap(({ site: at, vms }) =>
    vms.map((vm) => {
      const bytes = vm.disks.reduce((sum, disk) => sum + Number(disk.capacityBytes), 0);
      const findings = vm.findings.map((finding) => finding.message).join('; ');
      const verdict = vm.vmMigrationId === null ? (vm.eligible ? 'yes' : 'no') : 'migrating';
      return [at.name, vm.name, vm.powerState, `${vm.disks.length} (${formatBytes(bytes)})`, verdict, findings];
    }),
  );
  return rows.length === 0 ? 'There are no VMs.' : table(['site', 'vm', 'power', 'disks', 'can migrate', 'why'], rows);
}

function inventoryText(read: Inventory): string {
  return [
    table(
      ['cluster', 'datacenter', 'hosts', 'id'],
      read.clusters.map((item) => [item.name, item.datacenter, String(item.hostMorefs.length), item.moref]),
    ),
    table(
      ['host', 'version', 'connected', 'id'],
      read.hosts.map((item) => [item.name, item.version, item.connected ? 'yes' : 'no', item.moref]),
    ),
    table(
      ['datastore', 'type', 'capacity', 'free', 'id'],
      read.datastores.map((item) => [
        item.name,
        item.type,
        formatBytes(item.capacityBytes),
        formatBytes(item.freeBytes),
        item.moref,
      ]),
    ),
    table(
      ['network', 'distributed', 'id'],
      read.networks.map((item) => [item.name, item.distributed ? 'yes' : 'no', item.moref]),
    ),
  ].join('\n\n');
}
