/**
 * Admission: who may begin next. Everything that is limited (a source host, a datastore, a link, the whole
 * installation) has tokens; a migration claims what it needs of each, and takes all of it at once or waits.
 * Claims are whole: a group claims for all its members, so that two groups can never wait for each other. What was granted
 * begins at a pace, so that a thousand do not call on vCenter and engine in the same second.
 */
import { Turn, type Claim, type Line } from './admission-turn.ts';
import { limits } from './limits.ts';
import { capacityOf, less, type Tokens } from './tokens.ts';

/** What a claimant waits for until admission has said more. */
export const itsTurn = 'its turn';

/** Plain data, so that it survives in a workflow's carried state. */
export interface Admission extends Line {
  /** Absent before the first grant at a pace. */
  readonly pace?: Pace;
}

/** VMs that may begin now; below zero after a group that was larger. It fills with time. */
export interface Pace {
  readonly starts: number;
  readonly atMs: number;
}

/** The resource that is counted in VMs per second instead of VMs at once. */
export const startsResource = 'starts';

/** Why a claim waits: a resource that has too little for it, and how many are before it there. */
export interface Waiting {
  readonly id: string;
  readonly resource: string;
  readonly needed: number;
  readonly taken: number;
  readonly capacity: number;
  /** 1 is the next one. */
  readonly place: number;
}

/** Kinds of resources with what they have unless an administrator says otherwise. */
export const defaultCapacities: Tokens = {
  total: limits.admissionTotal,
  host: limits.admissionPerHost,
  datastore: limits.admissionPerDatastore,
  link: limits.admissionPerLink,
  [startsResource]: limits.admissionStartsPerSecond,
};

/** Where one VM's migration begins and ends, as far as tokens are concerned. */
export interface Route {
  readonly sourceSiteId: string;
  readonly sourceHostMoref: string | null;
  readonly destinationSiteId: string;
  readonly datastoreMoref: string;
}

/**
 * What one VM's migration takes while it is under way: a token of each resource that it uses. Of a site there are as many as
 * are wanted, or none while it is paused; it stands first, because that is what people have to be told first.
 */
export function needsOf({ sourceSiteId, sourceHostMoref, destinationSiteId, datastoreMoref }: Route): Tokens {
  return {
    [`site:${sourceSiteId}`]: 1,
    [`site:${destinationSiteId}`]: 1,
    total: 1,
    ...(sourceHostMoref === null ? {} : { [`host:${sourceSiteId}/${sourceHostMoref}`]: 1 }),
    [`datastore:${destinationSiteId}/${datastoreMoref}`]: 1,
    [`link:${sourceSiteId}/${destinationSiteId}`]: 1,
  };
}

/** Adds a claim; one that holds already stays as it is, one that waits keeps its time of arrival. */
export function claim(state: Admission, wanted: Claim): Admission {
  if (state.leases.some(({ id }) => id === wanted.id)) return state;
  const known = state.waiting.some(({ id }) => id === wanted.id);
  if (!known) return { ...state, waiting: [...state.waiting, wanted] };
  const again = ({ arrived }: Claim): Claim => ({ ...wanted, arrived });
  return { ...state, waiting: state.waiting.map((item) => (item.id === wanted.id ? again(item) : item)) };
}

/** Gives waiting claims the priorities that their owners have now. */
export function prioritize(state: Admission, priorities: Readonly<Record<string, number>>): Admission {
  const now = (item: Claim): Claim => ({ ...item, priority: priorities[item.owner] ?? item.priority });
  return { ...state, waiting: state.waiting.map(now) };
}

/** What the migrations of a paused site wait for. */
export function siteToResume(siteName: string): string {
  return `the site ${siteName} to be resumed`;
}

/** What paused sites have to give out. */
export function pausedSites(siteIds: readonly string[]): Tokens {
  return Object.fromEntries(siteIds.map((id) => [`site:${id}`, 0]));
}

/** Takes back a claim, or a part of what it holds. What is not held is not given back. */
export function release(state: Admission, id: string, part?: Tokens): Admission {
  const waiting = state.waiting.filter((item) => item.id !== id);
  const leases = state.leases.flatMap((lease) => {
    if (lease.id !== id) return [lease];
    const needs = part === undefined ? {} : less(lease.needs, part);
    return Object.keys(needs).length === 0 ? [] : [{ ...lease, needs }];
  });
  return { ...state, leases, waiting };
}

export interface Admitted {
  readonly state: Admission;
  readonly granted: readonly Claim[];
  /** When there is more to grant although nothing is given back: the pace allows it then. */
  readonly moreAtMs: number | null;
}

/** Grants what can be granted, in order. A claim that has to wait keeps later ones from what it lacks. */
export function admit(state: Admission, nowMs = 0): Admitted {
  const turn = new Turn(state);
  const perSecond = capacityOf(state.capacities, startsResource);
  const pace = paceAt(state, nowMs);
  const granted: Claim[] = [];
  const waiting: Claim[] = [];
  let starts = pace.starts;
  let isPaced = false;
  for (let next = turn.next(); next !== undefined; next = turn.next()) {
    const short = turn.shortOf(next.needs);
    if (short.length === 0 && starts >= 1) {
      starts -= vmsOf(next);
      granted.push(turn.grant(next));
      continue;
    }
    isPaced ||= short.length === 0;
    turn.keepFor(short);
    waiting.push(next);
  }
  waiting.sort((a, b) => a.arrived - b.arrived);
  return {
    state: {
      ...state,
      leases: [...state.leases, ...granted],
      waiting,
      ...(Number.isFinite(perSecond) ? { pace: { starts, atMs: nowMs } } : {}),
    },
    granted,
    // A second's worth at a time: fewer rounds.
    moreAtMs: isPaced ? nowMs + Math.ceil(((perSecond - starts) / perSecond) * 1000) : null,
  };
}

/** How many may begin now. */
function paceAt({ capacities, pace }: Admission, nowMs: number): Pace {
  const perSecond = capacityOf(capacities, startsResource);
  const full = Math.max(limits.admissionStartsBurst, perSecond);
  if (pace === undefined || !Number.isFinite(perSecond)) return { starts: full, atMs: nowMs };
  const filled = pace.starts + (Math.max(0, nowMs - pace.atMs) / 1000) * perSecond;
  return { starts: Math.min(full, filled), atMs: nowMs };
}

function vmsOf({ needs }: Claim): number {
  return needs['total'] ?? 1;
}

/** What each waiting claim waits for, in the order in which they would be granted: one pass, however many there are. */
export function lineOf(state: Admission): readonly Waiting[] {
  const turn = new Turn(state);
  const ahead = new Map<string, number>();
  const line: Waiting[] = [];
  for (let next = turn.next(); next !== undefined; next = turn.next()) {
    const short = turn.shortOf(next.needs);
    const resource = short[0] ?? startsResource;
    line.push({
      id: next.id,
      resource,
      needed: next.needs[resource] ?? vmsOf(next),
      taken: turn.usedOf(resource),
      capacity: capacityOf(state.capacities, resource),
      place: (ahead.get(resource) ?? 0) + 1,
    });
    turn.keepFor(short);
    for (const wanted of [...Object.keys(next.needs), startsResource]) ahead.set(wanted, (ahead.get(wanted) ?? 0) + 1);
  }
  return line;
}

/** Resources that have too few tokens for a claim even when nobody else holds any. */
export function impossible(capacities: Tokens, needs: Tokens): readonly string[] {
  const resources = Object.keys(needs);
  return resources.filter((resource) => (needs[resource] ?? 0) > capacityOf(capacities, resource));
}
