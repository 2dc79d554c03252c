// The API's connections to vCenters: a look before anything is known, and sessions of registered sites, kept a while so
// that a list does not mean a login each time. Passwords are opened here and go no further.
import type { Database, SealingKey } from '../../db/index.ts';
import { siteCredentials } from '../../db/index.ts';
import { connect, probe, type ProbeResult, type VcenterLogin, type VsphereSession } from '../../vsphere/index.ts';

export interface SiteConnector {
  probe(address: string): Promise<ProbeResult>;
  /** Works with a login that is not stored; the session ends with the work. */
  withLogin<Result>(login: VcenterLogin, work: (session: VsphereSession) => Promise<Result>): Promise<Result>;
  /** Works with a registered site. */
  withSite<Result>(siteId: string, work: (session: VsphereSession) => Promise<Result>): Promise<Result>;
  /** Ends the session of a site that is removed. */
  forget(siteId: string): Promise<void>;
  close(): Promise<void>;
}

/** Below the 30 minutes after which a vCenter ends an idle session itself. */
const idleMs = 5 * 60_000;

interface Kept {
  readonly session: Promise<VsphereSession>;
  users: number;
  idle: NodeJS.Timeout | undefined;
}

export function createSiteConnector(database: Database, sealingKey: SealingKey): SiteConnector {
  const kept = new Map<string, Kept>();

  const open = (siteId: string): Kept => {
    const session = siteCredentials(database.prisma, sealingKey, siteId).then(({ username, ...login }) =>
      connect({ ...login, user: username }),
    );
    const entry: Kept = { session, users: 0, idle: undefined };
    kept.set(siteId, entry);
    session.catch(() => {
      if (kept.get(siteId) === entry) kept.delete(siteId);
    });
    return entry;
  };
  const forget = async (siteId: string): Promise<void> => {
    const entry = kept.get(siteId);
    kept.delete(siteId);
    clearTimeout(entry?.idle);
    await entry?.session.then((session) => session.close()).catch(() => undefined);
  };

  return {
    probe: (address) => probe(address),
    async withLogin(login, work) {
      const session = await connect(login);
      try {
        return await work(session);
      } finally {
        await session.close();
      }
    },
    async withSite(siteId, work) {
      const entry = kept.get(siteId) ?? open(siteId);
      clearTimeout(entry.idle);
      entry.users += 1;
      try {
        return await work(await entry.session);
      } finally {
        entry.users -= 1;
        if (entry.users === 0) entry.idle = setTimeout(() => void forget(siteId), idleMs).unref();
      }
    },
    forget,
    close: async () => {
      await Promise.all([...kept.keys()].map(forget));
    },
  };
}
