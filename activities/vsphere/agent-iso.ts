/** Puts the agent ISO on the destination datastore, once per version (product row S6). It stays there. */
import { createReadStream } from 'node:fs';
import { datastorePath, fileSize, makeFolder, uploadFile } from '../../vsphere/index.ts';
import { readDestination, readPlan, type DestinationPlaces } from '../plan.ts';
import type { Services } from '../services.ts';
import { callOptions } from '../call-options.ts';

/** The name carries version and hash: another build is another file, and the same one is never sent twice. */
export async function agentIsoPath(services: Services, places: DestinationPlaces): Promise<string> {
  const { version, sha256 } = await services.builtFile('agent.iso');
  return datastorePath(places.datastore.name, 'landfall', `agent-${version}-${sha256.slice(0, 12)}.iso`);
}

export async function ensureAgentIso(services: Services, vmMigrationId: string): Promise<void> {
  const plan = await readPlan(services, vmMigrationId);
  const places = await readDestination(services, plan);
  const iso = await services.builtFile('agent.iso');
  const path = await agentIsoPath(services, places);
  if ((await fileSize(places.session, places, path)) === iso.sizeBytes) return;
  await makeFolder(places.session, places, datastorePath(places.datastore.name, 'landfall'));
  await uploadFile(places.session, places, path, createReadStream(iso.path), iso.sizeBytes, callOptions());
}
