/**
 * What activities work with: records, sessions to vCenters, the authority, clients of agents, built files.
 * One per worker process, made by the worker's entry point. It must hold no state that a restart would miss.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MigrationError } from '../core/index.ts';
import { openAuthority, type Authority } from '../dataplane/client/index.ts';
import { getSite, openDatabase, sealingKey, siteCredentials, type Database, type SealingKey } from '../db/index.ts';
import { connect, readInventory, type Inventory, type VsphereSession } from '../vsphere/index.ts';

export interface WorkerSettings {
  readonly databaseUrl: string;
  /** Folder of the installation: authority, logs. */
  readonly home: string;
  /** Folder of built files: agent ISO, host package. */
  readonly build: string;
  /** Address under which hosts fetch the host package. */
  readonly apiUrl: string;
  /** The API's certificate where one was given; otherwise the authority made it. */
  readonly apiCertificateFile?: string | undefined;
}

export interface Services {
  readonly settings: WorkerSettings;
  readonly database: Database;
  readonly sealing: SealingKey;
  readonly authority: Authority;
  /** A shared, logged-in session to a registered vCenter. */
  session(siteId: string): Promise<VsphereSession>;
  /** Places of a vCenter; at most a minute old. */
  inventory(siteId: string): Promise<Inventory>;
  /** Facts about a built file, from the JSON beside it. */
  builtFile(name: BuiltFileName): Promise<BuiltFile>;
  close(): Promise<void>;
}

export type BuiltFileName = 'agent.iso' | 'landfall-host.vib';

export interface BuiltFile {
  readonly path: string;
  readonly version: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

const inventoryAgeMs = 60_000;

export async function openServices(settings: WorkerSettings): Promise<Services> {
  const authority = await openAuthority(join(settings.home, 'authority'));
  const database = openDatabase(settings.databaseUrl);
  const sealing = sealingKey(authority.encryptionKey);
  const sessions = new Map<string, { sealed: string; session: Promise<VsphereSession> }>();
  const inventories = new Map<string, { readAtMs: number; inventory: Promise<Inventory> }>();

  async function session(siteId: string): Promise<VsphereSession> {
    const site = await getSite(database.prisma, siteId);
    const known = sessions.get(siteId);
    if (known?.sealed === site.passwordSealed) return known.session;
    const {
      address,
      username: user,
      password,
      thumbprintSha256,
    } = await siteCredentials(database.prisma, sealing, siteId);
    const opened = connect({ address, user, password, thumbprintSha256 });
    sessions.set(siteId, { sealed: site.passwordSealed, session: opened });
    opened.catch(() => sessions.delete(siteId));
    return opened;
  }

  return {
    settings,
    database,
    sealing,
    authority,
    session,
    async inventory(siteId) {
      const known = inventories.get(siteId);
      if (known !== undefined && Date.now() - known.readAtMs < inventoryAgeMs) return known.inventory;
      const inventory = session(siteId).then(readInventory);
      inventories.set(siteId, { readAtMs: Date.now(), inventory });
      inventory.catch(() => inventories.delete(siteId));
      return inventory;
    },
    builtFile: (name) => readBuiltFile(settings.build, name),
    async close() {
      const opened = await Promise.allSettled([...sessions.values()].map((entry) => entry.session));
      await Promise.all(opened.flatMap((result) => (result.status === 'fulfilled' ? [result.value.close()] : [])));
      await database.close();
    },
  };
}

async function readBuiltFile(build: string, name: BuiltFileName): Promise<BuiltFile> {
  const [note, missing] =
    name === 'agent.iso'
      ? (['agent.json', 'AGENT_ISO_MISSING'] as const)
      : (['host-package.json', 'HOST_PACKAGE_MISSING'] as const);
  try {
    const facts = JSON.parse(await readFile(join(build, note), 'utf8')) as Omit<BuiltFile, 'path'>;
    return { path: join(build, name), version: facts.version, sizeBytes: facts.sizeBytes, sha256: facts.sha256 };
  } catch (error) {
    throw new MigrationError(missing, undefined, { cause: error });
  }
}
