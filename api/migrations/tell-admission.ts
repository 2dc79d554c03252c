// Tells the workflows what the records say about turns: what there is to give out, who goes first, which sites go on again.
// The records are the truth, so it may be told any number of times; a later round tells what a lost word did not.
import { listHeldForNothing, listPriorities, readTokens } from '../../db/index.ts';
import type { Services } from '../services.ts';

/** What admission judges by, as the records have it now. */
export async function tellAdmission({ database, workflows }: Services): Promise<void> {
  await workflows.changeCapacities(await readTokens(database.prisma));
  await workflows.changePriorities(await listPriorities(database.prisma));
}

/** Lets look again whose next step waits for a site that is not paused any more. */
export async function tellHeld({ database, workflows }: Services): Promise<void> {
  for (const { id } of await listHeldForNothing(database.prisma)) await workflows.siteResumed(id);
}

/** Requests at one moment may tell in another order than they wrote: after so many rounds it is told in any case. */
const roundsUntilToldAnyway = 6;

/** For rounds: tells admission what it was not told by this process already, and everything now and then. */
export function makeAdmissionTeller(services: Services): () => Promise<void> {
  const { prisma } = services.database;
  let told = '';
  let rounds = 0;
  return async () => {
    const now = JSON.stringify([await readTokens(prisma), await listPriorities(prisma)]);
    rounds += 1;
    if (now === told && rounds < roundsUntilToldAnyway) return;
    await tellAdmission(services);
    [told, rounds] = [now, 0];
  };
}
