/** What is told of a part: made from what happened to it, one step after the other. Pure; the time is an argument. */
import type { InstallationPart } from '../../contracts/rest.ts';

/** So many ends in a row, each soon after its start, are no accident any more. */
export const failingAfter = 3;

export type PartEvent =
  | { readonly what: 'started' | 'ready' }
  /** `failures` in a row, this one included. */
  | { readonly what: 'ended'; readonly how: string; readonly failures: number };

export function newPart(name: string, logFile: string, at: Date): InstallationPart {
  return { name, state: 'starting', since: at.toISOString(), restarts: 0, lastEnd: null, logFile, remedy: null };
}

/** A part that keeps failing stays `failing` through its further starts, until it answers. */
export function afterEvent(part: InstallationPart, event: PartEvent, at: Date): InstallationPart {
  const since = at.toISOString();
  switch (event.what) {
    case 'started': {
      const restarts = part.lastEnd === null ? 0 : part.restarts + 1;
      return part.state === 'failing' ? { ...part, restarts } : { ...part, state: 'starting', since, restarts };
    }
    case 'ready':
      return { ...part, state: 'running', since, remedy: null };
    case 'ended': {
      const lastEnd = { at: since, how: event.how };
      if (event.failures < failingAfter) return { ...part, state: 'stopped', since, lastEnd };
      const ever = part.state === 'failing' ? part.since : since;
      return { ...part, state: 'failing', since: ever, lastEnd, remedy: remedyFor(part) };
    }
  }
}

function remedyFor({ logFile }: InstallationPart): string {
  return (
    `Read the end of ${logFile}: a full disk, a port that another program has taken, or too little memory are ` +
    'the usual causes. It is started again by itself; nothing is lost meanwhile.'
  );
}
