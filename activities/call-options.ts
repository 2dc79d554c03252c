/** What every outward call of an activity carries: the signal that ends it when the activity is cancelled. */
import { Context } from '@temporalio/activity';

export function callOptions(): { readonly signal: AbortSignal } {
  return { signal: cancellationSignal() };
}

export function cancellationSignal(): AbortSignal {
  return Context.current().cancellationSignal;
}
