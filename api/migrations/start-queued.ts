// Records first, workflow second: between the two a process may die or the workflow engine be away. So what the records
// say is begun is started again, from time to time, until it is; starting twice changes nothing.
import type { Logger } from 'pino';
import type { MigrationKind } from '../../core/index.ts';
import type { Services } from '../services.ts';
import { announceAgain } from './add-members.ts';
import { makeAdmissionTeller, tellHeld } from './tell-admission.ts';

const intervalMs = 10_000;
const perRoundMax = 50;

/** Starts now if it can be; otherwise the rounds below will. The request is accepted either way. */
export async function startSoon(log: Logger, start: () => Promise<void>): Promise<void> {
  try {
    await start();
  } catch (error) {
    log.warn({ err: error }, 'a workflow could not be started; it is tried again');
  }
}

/** One round over everything that is begun in the records. */
async function startQueued(services: Services): Promise<void> {
  const { database, workflows } = services;
  const [migrations, clusters, grown] = await Promise.all([
    database.prisma.migration.findMany({
      where: { status: 'Queued', endedAt: null },
      orderBy: { id: 'asc' },
      take: perRoundMax,
      select: { id: true, kind: true },
    }),
    database.prisma.cluster.findMany({ where: { state: 'configuring' }, take: perRoundMax }),
    database.prisma.vmMigration.findMany({ where: { announced: false }, distinct: ['migrationId'], take: perRoundMax }),
  ]);
  await workflows.ensureServices();
  for (const { id, kind } of migrations) await workflows.startMigration(id, kind as MigrationKind);
  for (const cluster of clusters) await workflows.startClusterSetup(cluster);
  for (const { migrationId } of grown) await announceAgain(services, migrationId);
}

/** Rounds until the function that it gives back is called. */
export function keepStartingQueued(services: Services): () => void {
  const teller = makeAdmissionTeller(services);
  const everything = async (): Promise<void> => {
    await startQueued(services);
    await teller();
    await tellHeld(services);
  };
  const round = (): void => {
    everything().catch((error: unknown) => {
      services.log.warn({ err: error }, 'queued work could not be started; it is tried again');
    });
  };
  round();
  const timer = setInterval(round, intervalMs);
  return () => {
    clearInterval(timer);
  };
}
