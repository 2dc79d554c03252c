/** One pass of admission over the claims that wait: in which order, and what each lacks. It grants nothing by itself. */
import { addTo, capacityOf, type Tokens } from './tokens.ts';

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

/** Who holds what, and who waits. */
export interface Line {
  /** By resource, else by its kind; what has neither is not limited. */
  readonly capacities: Tokens;
  readonly leases: readonly Claim[];
  readonly waiting: readonly Claim[];
}

/** One pass over the waiting claims in their order, with what is used as the pass goes on. */
export class Turn {
  private readonly used = new Map<string, number>();
  private readonly heldByOwner = new Map<string, number>();
  private readonly kept = new Set<string>();
  /** By owner, the next one last: among the claims of one owner the order never changes. */
  private readonly left = new Map<string, Claim[]>();
  private readonly capacities: Tokens;

  constructor(state: Line) {
    this.capacities = state.capacities;
    for (const lease of state.leases) this.count(lease);
    for (const item of [...state.waiting].sort((a, b) => b.priority - a.priority || b.arrived - a.arrived)) {
      const own = this.left.get(item.owner);
      if (own === undefined) this.left.set(item.owner, [item]);
      else own.push(item);
    }
  }

  next(): Claim | undefined {
    let best: Claim | undefined;
    for (const own of this.left.values()) {
      const first = own.at(-1);
      if (first !== undefined && (best === undefined || this.isBefore(first, best))) best = first;
    }
    if (best === undefined) return undefined;
    const own = this.left.get(best.owner);
    own?.pop();
    if (own?.length === 0) this.left.delete(best.owner);
    return best;
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
    addTo(this.used, needs);
    const size = Object.values(needs).reduce((sum, count) => sum + count, 0);
    this.heldByOwner.set(owner, (this.heldByOwner.get(owner) ?? 0) + size);
  }

  private isBefore(a: Claim, b: Claim): boolean {
    const held = (item: Claim): number => this.heldByOwner.get(item.owner) ?? 0;
    return (a.priority - b.priority || held(a) - held(b) || a.arrived - b.arrived) < 0;
  }
}
