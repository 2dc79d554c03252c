// Registers a vCenter: every check first, then one transaction. A refused site leaves nothing behind.
// Whether two sites fit together (destination not older) is judged when a migration pairs them.
import type { RegisterSiteRequest } from '../../contracts/rest.ts';
import { MigrationError } from '../../core/index.ts';
import { insertSite, recordAudit, recordEvent, type Site } from '../../db/index.ts';
import { currentTime, missingPrivileges, normalThumbprint, type VsphereSession } from '../../vsphere/index.ts';
import type { HandlerContext } from '../http/route.ts';
import { requiredPrivileges } from './required-privileges.ts';

/** TLS, tickets and receipts all speak of time; vSphere itself tolerates no more. */
const clockDifferenceMaxMs = 5 * 60_000;

export async function registerSite(
  wanted: RegisterSiteRequest,
  { services, principal, requestId }: HandlerContext,
): Promise<Site> {
  const { address, user, password } = wanted;
  const thumbprintSha256 = normalThumbprint(wanted.thumbprintSha256);
  const login = { address, user, password, thumbprintSha256 };
  const facts = await services.sites.withLogin(login, async (session) => {
    await checkClock(session, services.now());
    await checkPrivileges(session, user);
    return {
      instanceUuid: session.about.instanceUuid ?? '',
      apiVersion: session.about.apiVersion,
      productName: session.about.fullName,
    };
  });
  return services.database.transaction(async (db) => {
    const site = await insertSite(db, services.sealingKey, {
      name: wanted.name,
      address,
      username: user,
      password,
      thumbprintSha256,
      ...facts,
    });
    await recordEvent(db, 'site.added', { data: { siteId: site.id, name: site.name } });
    await recordAudit(db, {
      principalId: principal.id,
      action: 'site.register',
      targetKind: 'site',
      targetId: site.id,
      outcome: 'done',
      requestId,
      details: { name: wanted.name, address, user, thumbprintSha256, productName: facts.productName },
    });
    return site;
  });
}

async function checkClock(session: VsphereSession, here: Date): Promise<void> {
  const there = await currentTime(session);
  const differenceMs = Math.abs(there.getTime() - here.getTime());
  if (differenceMs <= clockDifferenceMaxMs) return;
  throw new MigrationError(
    'VSPHERE_CLOCK_DIFFERS',
    `The clock of ${session.address} says ${there.toISOString()}, here it is ${here.toISOString()}: ${Math.round(differenceMs / 1_000)} s apart.`,
  );
}

async function checkPrivileges(session: VsphereSession, user: string): Promise<void> {
  const missing = await missingPrivileges(session, [session.content.rootFolder], Object.keys(requiredPrivileges));
  if (missing.length === 0) return;
  const named = missing.map((privilege) => `${privilege} (to ${requiredPrivileges[privilege] ?? 'work'})`);
  throw new MigrationError(
    'VSPHERE_NO_PERMISSION',
    `${user} lacks ${missing.length} privileges: ${named.join(', ')}.`,
    {
      remedy: `Give ${user} these privileges on the vCenter itself, with propagation to children.`,
      details: { missing },
    },
  );
}
