// Records first, workflow second: between the two a process may die or the workflow engine be away. So what the records
// say is begun is started again, from time to time, until it is; starting twice changes nothing.
import type { Logger } from 'pino';
import type { MigrationKind } from '../../core/index.ts';
import type { Services } from '../services.ts';
import { announceAgain } from './add-members.ts';
import { makeAdmissionTeller, tellHeld } from './tell-admission.ts';

const intervalMs = 10_000;
/** Of the queued ones in one round; the next round goes on behind them. */
const perRoundMax = 200;

/** Starts now if it can be; otherwise the rounds below will. The request is accepted either way. */
export async function startSoon(log: Logger, start: () => Promise<void>): Promise<void> {
  try {
    await start();
  } catch (error) {
    log.warn({ err: error }, 'a workflow could not be started; it is tried again');
  }
}

/** For rounds over what is begun in the records. Queued migrations may be many, and most of them run: they take turns. */
export function makeQueuedStarter(services: Services, roundMax = perRoundMax): () => Promise<void> {
  const { database, workflows } = services;
  let lastId = '';
  return async () => {
    const [migrations, clusters, grown] = await Promise.all([
      database.prisma.migration.findMany({
        where: { status: 'Queued', endedAt: null, id: { gt: lastId } },
        orderBy: { id: 'asc' },
        take: roundMax,
        select: { id: true, kind: true },
      }),
      database.prisma.cluster.findMany({ where: { state: 'configuring' } }),
      database.prisma.vmMigration.groupBy({ by: ['migrationId'], where: { announced: false } }),
    ]);
    await workflows.ensureServices();
    for (const { id, kind } of migrations) {
      // Before the start: one that cannot be started must not hold up those behind it.
      lastId = id;
      await workflows.startMigration(id, kind as MigrationKind);
    }
    if (migrations.length < roundMax) lastId = '';
    for (const cluster of clusters) await workflows.startClusterSetup(cluster);
    for (const { migrationId } of grown) await announceAgain(services, migrationId);
  };
}

/** Rounds until the function that it gives back is called. */
export function keepStartingQueued(services: Services): () => void {
  const startQueued = makeQueuedStarter(services);
  const teller = makeAdmissionTeller(services);
  const everything = async (): Promise<void> => {
    await startQueued();
    await teller();
    await tellHeld(services);
  };
  let underWay = false;
  const round = (): void => {
    if (underWay) return;
    underWay = true;
    everything()
      .catch((error: unknown) => {
        services.log.warn({ err: error }, 'queued work could not be started; it is tried again');
      })
      .finally(() => (underWay = false));
  };
  round();
  const timer = setInterval(round, intervalMs);
  return () => {
    clearInterval(timer);
  };
}
