/**
 * Activities that begin a step say so themselves, before they do anything, and what comes after it before they answer, to people and
 * to other workflows: the workflow gives them the notes. It costs no event and no turn of the workflow, and a step of a paused site
 * is refused just before it would begin. It must not change what they do.
 */
import { Context } from '@temporalio/activity';
import type { AllActivities, SuperviseResult, SuperviseUntil, VmRef } from '../contracts/activities.ts';
import { sitePaused } from '../temporal/index.ts';
import { send } from './send.ts';

type Input = Partial<VmRef> & { readonly until?: SuperviseUntil };
type Activity = (input?: Input) => Promise<unknown>;

/** Throws SITE_PAUSED, which is not tried again: the workflow waits for the site. */
export function notingFirst(activities: AllActivities): AllActivities {
  const entries = Object.entries(activities).map(([name, run]) => {
    const act = run as Activity;
    const noting = async (input?: Input): Promise<unknown> => {
      if (input === undefined) return act(input);
      const { note, after, tell = [], ...rest } = input;
      if (note !== undefined) {
        const again = Context.current().info.attempt > 1;
        const { pausedSite } = await activities.notePhase({ ...note, again });
        if (pausedSite !== null) throw sitePaused(pausedSite);
      }
      const result = await act(rest);
      if (!isWanted(input, result)) return result;
      if (after !== undefined) await activities.notePhase(after);
      for (const message of tell) await send(message);
      return result;
    };
    return [name, noting] as const;
  });
  return Object.fromEntries(entries) as unknown as AllActivities;
}

/** A supervisor that was to follow the job until something came may have ended otherwise. */
function isWanted({ until }: Input, result: unknown): boolean {
  return until === undefined || (result as SuperviseResult).outcome === until;
}
