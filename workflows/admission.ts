/**
 * Gives out the tokens of the installation: how many migrations run at once per source host, destination
 * datastore, link and in total. One workflow for all, because a link has two ends. The rules are core's; it
 * must not know what a migration is.
 */
import { condition, setCurrentDetails, setHandler, proxyLocalActivities } from '@temporalio/workflow';
import type { RecordsActivities } from '../contracts/activities.ts';
import type { AdmissionInput } from '../contracts/workflows.ts';
import { admit, claim, limits, lineOf, prioritize, release, type Admission } from '../core/index.ts';
import { recordsOptions } from '../temporal/index.ts';
import { beginAnew, shouldBeginAnew } from './begin-anew.ts';
import { admitted, changeCapacities, changePriorities, claimTokens, releaseTokens } from './messages.ts';
import { tell } from './tell.ts';

const records = proxyLocalActivities<RecordsActivities>(recordsOptions);

interface Desk {
  state: Admission;
  arrived: number;
  /** Something came in that has not been judged yet. */
  changed: boolean;
  /** When the pace allows more, in milliseconds of the epoch. */
  moreAtMs: number | null;
  /** Given back before it was known who held what. */
  readonly released: Set<string>;
  /** False until it is known. */
  open: boolean;
  /** Claimants that hold tokens and have not heard it. */
  readonly toTell: Set<string>;
  /** People may not have been told how the line stands now. */
  toNote: boolean;
  /** What they were told last, and when. */
  noted: string;
  notedAtMs: number;
  reconciledAtMs: number;
}

export async function admission(input: AdmissionInput): Promise<void> {
  const desk = open(input);
  registerHandlers(desk);
  if (input.carry === undefined) await takeOver(desk);
  for (;;) {
    await condition(() => desk.changed || desk.toTell.size > 0, Math.max(1, nextAtMs(desk) - Date.now()));
    await reconcile(desk);
    grant(desk);
    await tellAll(desk);
    await noteWaiting(desk);
    // It may look here because it hears signals only, no updates.
    if (shouldBeginAnew(limits.admissionEventsMax)) {
      // Handlers do not wait for anything, so none is under way; what they left to do is done by the next run.
      const { state, arrived, toTell } = desk;
      await beginAnew<typeof admission>({ carry: { version: 2, state, arrived, toTell: [...toTell] } });
    }
  }
}

/** When there is something to do without any news. */
function nextAtMs({ moreAtMs, toNote, notedAtMs, reconciledAtMs }: Desk): number {
  const noteAtMs = toNote ? notedAtMs + limits.admissionNoteSeconds * 1000 : Number.POSITIVE_INFINITY;
  const reconcileAtMs = reconciledAtMs + limits.admissionReconcileSeconds * 1000;
  return Math.min(reconcileAtMs, noteAtMs, moreAtMs ?? Number.POSITIVE_INFINITY);
}

function open({ carry }: AdmissionInput): Desk {
  const state = carry?.state ?? { capacities: {}, leases: [], waiting: [] };
  const known = { state, arrived: carry?.arrived ?? 0, open: carry !== undefined };
  // What the former run told people is not known any more: it is told again.
  const noted = carry === undefined ? '' : 'by the former run';
  return {
    ...known,
    changed: true,
    moreAtMs: null,
    toTell: new Set(carry?.toTell),
    released: new Set(),
    toNote: true,
    noted,
    notedAtMs: 0,
    reconciledAtMs: Date.now(),
  };
}

/** A first run finds nothing under way; one whose former run was ended from outside does not give the same tokens twice. */
async function takeOver(desk: Desk): Promise<void> {
  const capacities = await records.readCapacities();
  const held = await records.readLeases();
  const { state, released } = desk;
  const leases = held.filter(({ id }) => !released.has(id)).map((wanted) => ({ ...wanted, arrived: 0 }));
  const known = new Set(leases.map(({ id }) => id));
  // What came meanwhile is newer than what was read; whoever holds and claims again has not heard that it holds.
  for (const { id } of state.waiting) if (known.has(id)) desk.toTell.add(id);
  desk.state = {
    capacities: Object.keys(state.capacities).length > 0 ? state.capacities : capacities,
    leases,
    waiting: state.waiting.filter(({ id }) => !known.has(id)),
  };
  desk.open = true;
}

function registerHandlers(desk: Desk): void {
  setHandler(claimTokens, (wanted) => {
    desk.arrived += 1;
    desk.state = claim(desk.state, { ...wanted, arrived: desk.arrived });
    // Whoever claims again has not heard that it holds them.
    if (desk.state.leases.some(({ id }) => id === wanted.id)) desk.toTell.add(wanted.id);
    desk.changed = true;
  });
  setHandler(releaseTokens, ({ id, part }) => {
    if (!desk.open) desk.released.add(id);
    desk.state = release(desk.state, id, part);
    desk.changed = true;
  });
  setHandler(changeCapacities, (capacities) => {
    desk.state = { ...desk.state, capacities };
    desk.changed = true;
  });
  setHandler(changePriorities, (priorities) => {
    desk.state = prioritize(desk.state, priorities);
    desk.changed = true;
  });
}

function grant(desk: Desk): void {
  desk.changed = false;
  const { state, granted, moreAtMs } = admit(desk.state, Date.now());
  desk.state = state;
  desk.moreAtMs = moreAtMs;
  desk.toNote = true;
  for (const { id } of granted) desk.toTell.add(id);
}

/** A claimant that cannot be told is gone, and its tokens come back. */
async function tellAll(desk: Desk): Promise<void> {
  const ids = [...desk.toTell];
  desk.toTell.clear();
  const heard = await Promise.all(ids.map(async (id) => ({ id, there: await tell(id, admitted) })));
  for (const { id, there } of heard) {
    if (there) continue;
    desk.state = release(desk.state, id);
    desk.changed = true;
  }
}

/** A thousand claims are a few notes: written when it changed, and not too often. */
async function noteWaiting(desk: Desk): Promise<void> {
  const nowMs = Date.now();
  if (!desk.toNote || nowMs < desk.notedAtMs + limits.admissionNoteSeconds * 1000) return;
  desk.toNote = false;
  const waiting = lineOf(desk.state);
  const text = waiting.length === 0 ? '' : JSON.stringify(waiting);
  setCurrentDetails(`${desk.state.leases.length} hold tokens, ${waiting.length} wait.`);
  if (text === desk.noted) return;
  await records.noteAdmission({ waiting });
  desk.noted = text;
  desk.notedAtMs = nowMs;
}

/** Who died without giving back what it held. */
async function reconcile(desk: Desk): Promise<void> {
  if (Date.now() < desk.reconciledAtMs + limits.admissionReconcileSeconds * 1000) return;
  desk.reconciledAtMs = Date.now();
  const ids = [...desk.state.leases, ...desk.state.waiting].map(({ id }) => id);
  if (ids.length === 0) return;
  for (const id of await records.findDeadClaims({ ids })) desk.state = release(desk.state, id);
}
