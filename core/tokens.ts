/** Tokens: what admission gives out, and the arithmetic of it. It must not know who claims them. */

/** Tokens by resource. A resource is `kind` or `kind:name`, such as `total` or `host:site_1/host-12`. */
export type Tokens = Readonly<Record<string, number>>;

/** The needs of several claims together. */
export function sumOf(needs: readonly Tokens[]): Tokens {
  const sum = new Map<string, number>();
  for (const one of needs) addTo(sum, one);
  return Object.fromEntries(sum);
}

export function capacityOf(capacities: Tokens, resource: string): number {
  const kind = resource.split(':', 1)[0] ?? resource;
  return capacities[resource] ?? capacities[kind] ?? Number.POSITIVE_INFINITY;
}

/** Adds to a sum in place. */
export function addTo(sum: Map<string, number>, tokens: Tokens): void {
  for (const [resource, count] of Object.entries(tokens)) sum.set(resource, (sum.get(resource) ?? 0) + count);
}

/** What is left when a part is taken away; what is not there is not taken. */
export function less(needs: Tokens, part: Tokens): Tokens {
  const left = Object.entries(needs).map(([resource, count]) => [resource, count - (part[resource] ?? 0)] as const);
  return Object.fromEntries(left.filter(([, count]) => count > 0));
}
