/**
 * Admission: who may begin next. Everything that is limited (a source host, a datastore, a link, the whole
 * installation) has tokens; a migration claims what it needs of each, and takes all of it at once or waits.
 * Claims are whole: a group claims for all its members, so that two groups can never wait for each other.
 */
import { limits } from './limits.ts';

/** Tokens by resource. A resource is `kind` or `kind:name`, such as `total` or `host:site_1/host-12`. */
export type Tokens = Readonly<Record<string, number>>;

export interface Claim {
  readonly id: string;
  readonly needs: Tokens;
  /** 1 goes first, 5 last. */
  readonly priority: number;
  /** Claims of one owner share its turn: whoever holds least is next among equal priorities. */
  readonly owner: string;
  /** Grows with every claim; earlier goes first among equals. */
  readonly arrived: number;
}

/** What a claimant waits for until admission has said more. */
export const itsTurn = 'its turn';

/** Plain data, so that it survives in a workflow's carried state. */
export interface Admission {
  /** By resource, else by its kind; what has neither is not limited. */
  readonly capacities: Tokens;
  readonly leases: readonly Claim[];
  readonly waiting: readonly Claim[];
}

/** Why a claim waits: a resource that has too little for it, and how many are before it there. */
export interface Waiting {
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

/** Grants what can be granted, in order. A claim that has to wait keeps later ones from what it lacks. */
export function admit(state: Admission): { readonly state: Admission; readonly granted: readonly Claim[] } {
  const turn = new Turn(state);
  const granted: Claim[] = [];
  const waiting: Claim[] = [];
  for (let next = turn.next(); next !== undefined; next = turn.next()) {
    const short = turn.shortOf(next.needs);
    if (short.length === 0) granted.push(turn.grant(next));
    else {
      turn.keepFor(short);
      waiting.push(next);
    }
  }
  waiting.sort((a, b) => a.arrived - b.arrived);
  return { state: { ...state, leases: [...state.leases, ...granted], waiting }, granted };
}

/** What a claim that was not granted waits for; null when it does not wait. */
export function waitingFor(state: Admission, id: string): Waiting | null {
  const own = state.waiting.find((item) => item.id === id);
  if (own === undefined) return null;
  const turn = new Turn(state);
  const before: Claim[] = [];
  for (let next = turn.next(); next !== undefined && next.id !== id; next = turn.next()) before.push(next);
  const aheadAt = (resource: string): number => before.filter(({ needs }) => needs[resource] !== undefined).length;
  const wanted = Object.keys(own.needs);
  const contested = wanted.filter((resource) => aheadAt(resource) > 0);
  const resource = turn.shortOf(own.needs)[0] ?? contested[0] ?? wanted[0] ?? 'total';
  return {
    resource,
    needed: own.needs[resource] ?? 0,
    taken: turn.usedOf(resource),
    capacity: capacityOf(state.capacities, resource),
    place: aheadAt(resource) + 1,
  };
}

/** Resources that have too few tokens for a claim even when nobody else holds any. */
export function impossible(capacities: Tokens, needs: Tokens): readonly string[] {
  const resources = Object.keys(needs);
  return resources.filter((resource) => (needs[resource] ?? 0) > capacityOf(capacities, resource));
}

/** The needs of several claims together. */
export function sumOf(needs: readonly Tokens[]): Tokens {
  const sum = new Map<string, number>();
  for (const one of needs) add(sum, one);
  return Object.fromEntries(sum);
}

export function capacityOf(capacities: Tokens, resource: string): number {
  const kind = resource.split(':', 1)[0] ?? resource;
  return capacities[resource] ?? capacities[kind] ?? Number.POSITIVE_INFINITY;
}

/** One pass over the waiting claims in their order, with what is used as the pass goes on. */
class Turn {
  private readonly used = new Map<string, number>();
  private readonly heldByOwner = new Map<string, number>();
  private readonly kept = new Set<string>();
  private readonly left: Claim[];
  private readonly capacities: Tokens;

  constructor(state: Admission) {
    this.left = [...state.waiting];
    this.capacities = state.capacities;
    for (const lease of state.leases) this.count(lease);
  }

  next(): Claim | undefined {
    let best = 0;
    for (let index = 1; index < this.left.length; index++) {
      if (this.isBefore(this.left[index], this.left[best])) best = index;
    }
    return this.left.splice(best, 1)[0];
  }

  shortOf(needs: Tokens): string[] {
    return Object.entries(needs)
      .filter(([resource, count]) => {
        return this.kept.has(resource) || this.usedOf(resource) + count > capacityOf(this.capacities, resource);
      })
      .map(([resource]) => resource);
  }

  keepFor(resources: readonly string[]): void {
    for (const resource of resources) this.kept.add(resource);
  }

  grant(wanted: Claim): Claim {
    this.count(wanted);
    return wanted;
  }

  usedOf(resource: string): number {
    return this.used.get(resource) ?? 0;
  }

  private count({ owner, needs }: Claim): void {
    add(this.used, needs);
    const size = Object.values(needs).reduce((sum, count) => sum + count, 0);
    this.heldByOwner.set(owner, (this.heldByOwner.get(owner) ?? 0) + size);
  }

  private isBefore(a: Claim | undefined, b: Claim | undefined): boolean {
    if (a === undefined || b === undefined) return false;
    const held = (item: Claim): number => this.heldByOwner.get(item.owner) ?? 0;
    return (a.priority - b.priority || held(a) - held(b) || a.arrived - b.arrived) < 0;
  }
}

function add(sum: Map<string, number>, tokens: Tokens): void {
  for (const [resource, count] of Object.entries(tokens)) sum.set(resource, (sum.get(resource) ?? 0) + count);
}

function less(needs: Tokens, part: Tokens): Tokens {
  const left = Object.entries(needs).map(([resource, count]) => [resource, count - (part[resource] ?? 0)] as const);
  return Object.fromEntries(left.filter(([, count]) => count > 0));
}
