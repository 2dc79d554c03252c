// landfall retry: lets one VM's migration that has failed go on, at another place or with other settings where asked for.
import type { Command } from 'commander';
import { actionAccepted } from '../../contracts/rest.ts';
import { connected } from '../command.ts';
import { addDialOptions, dialsFrom } from '../dial-options.ts';
import { findVmMigration, pick, readInventory } from '../find.ts';
import { collect, parseMapping } from './start-migration.ts';

interface Place {
  readonly moref: string;
  readonly name: string;
}

export function addRetry(program: Command): void {
  const command = program
    .command('retry <id>')
    .description('go on from the step that failed; at another place, from the first one')
    .option('--cluster <cluster>', 'another destination cluster')
    .option('--datastore <datastore>', 'another destination datastore')
    .option('--network <source=destination>', 'map a network anew; may be repeated', collect, []);
  connected(addDialOptions(command), async ({ client, print }, [id = ''], options) => {
    const found = await findVmMigration(client, id);
    const { siteId } = found.destination;
    const named = (name: string): string | undefined => options[name] as string | undefined;
    const [cluster, datastore] = [named('cluster'), named('datastore')];
    const places = cluster === undefined && datastore === undefined ? undefined : await readInventory(client, siteId);
    const moref = (kind: string, wanted: string, items: readonly Place[] = []): string =>
      pick(kind, wanted, items, (item) => [item.moref, item.name], 'See them with "landfall site show".').moref;
    const networks = (options['network'] as readonly string[]).map(parseMapping);
    const destination = {
      ...(cluster === undefined ? {} : { clusterMoref: moref('cluster', cluster, places?.clusters) }),
      ...(datastore === undefined ? {} : { datastoreMoref: moref('datastore', datastore, places?.datastores) }),
      ...(networks.length === 0 ? {} : { networks }),
    };
    const settings = dialsFrom(options);
    const body = {
      ...(Object.keys(destination).length === 0 ? {} : { destination }),
      ...(Object.keys(settings).length === 0 ? {} : { settings }),
    };
    const answer = await client.post(`/vm-migrations/${found.id}/actions/retry`, body, actionAccepted);
    print(answer, () => `Accepted. Follow it with "landfall watch ${found.id}".`);
  });
}
