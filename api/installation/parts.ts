// How the processes of the installation are, as `landfall up` writes it; and that one died, told on the live stream once.
// The supervisor cannot tell it itself: the database may be what died. It must not judge: the file says who is failing.
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { installationPart, type InstallationPart } from '../../contracts/rest.ts';
import { newestEvent, recordEvent } from '../../db/index.ts';
import type { Services } from '../services.ts';

const intervalMs = 1_000;
const parts = z.array(installationPart);

/** Empty where there is no such file: then somebody else keeps the processes running. */
export async function readParts(file: string): Promise<InstallationPart[]> {
  try {
    return parts.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Looks once a second; what the stream heard last stands in its table, so a new API process repeats nothing. */
export function keepTellingParts(services: Services): () => void {
  let busy = false;
  let seen = '';
  const look = async (): Promise<void> => {
    if (busy) return;
    busy = true;
    try {
      const now = await readParts(services.partsFile);
      if (JSON.stringify(now) === seen) return;
      for (const part of now.filter(isWorthTelling)) await tell(services, part);
      seen = JSON.stringify(now);
    } catch (error) {
      services.log.debug({ err: error }, 'what became of the parts could not be told yet');
    } finally {
      busy = false;
    }
  };
  const timer = setInterval(() => void look(), intervalMs);
  return () => {
    clearInterval(timer);
  };
}

/** Runs again, or does not come back. That it stopped a moment ago is told with either. */
function isWorthTelling({ state, restarts }: InstallationPart): boolean {
  return state === 'failing' || (state === 'running' && restarts > 0);
}

async function tell({ database }: Services, part: InstallationPart): Promise<void> {
  const { name, state, since, restarts, lastEnd, logFile, remedy } = part;
  await database.transaction(async (db) => {
    const last = await newestEvent(db, 'installation.part', { path: ['part'], equals: name });
    const told = last?.data as { state?: string; since?: string } | undefined;
    if (told?.state === state && (state === 'failing' || told.since === since)) return;
    const data = { part: name, state, since, restarts, ended: lastEnd?.how ?? null };
    await recordEvent(db, 'installation.part', { data: state === 'failing' ? { ...data, logFile, remedy } : data });
  });
}
