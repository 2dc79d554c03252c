/**
 * Activities that begin a step say so themselves, before they do anything, and what comes after it before they answer: the workflow
 * gives them the notes. It costs no event and no turn of the workflow, and a step of a paused site is refused just before it would
 * begin. It must not change what they do.
 */
import { Context } from '@temporalio/activity';
import type { AllActivities, VmRef } from '../contracts/activities.ts';
import { sitePaused } from '../temporal/index.ts';

type Activity = (input?: Partial<VmRef>) => Promise<unknown>;

/** Throws SITE_PAUSED, which is not tried again: the workflow waits for the site. */
export function notingFirst(activities: AllActivities): AllActivities {
  const entries = Object.entries(activities).map(([name, run]) => {
    const act = run as Activity;
    const noting = async (input?: Partial<VmRef>): Promise<unknown> => {
      if (input === undefined) return act(input);
      const { note, after, ...rest } = input;
      if (note !== undefined) {
        const again = Context.current().info.attempt > 1;
        const { pausedSite } = await activities.notePhase({ ...note, again });
        if (pausedSite !== null) throw sitePaused(pausedSite);
      }
      const result = await act(rest);
      if (after !== undefined) await activities.notePhase(after);
      return result;
    };
    return [name, noting] as const;
  });
  return Object.fromEntries(entries) as unknown as AllActivities;
}
