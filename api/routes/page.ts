// Makes a page of a list that is ordered by id: the cursor is the last id, opaque to the client.
interface Page<Item> {
  readonly items: Item[];
  readonly nextCursor: string | null;
}

/** A full page has a next one, perhaps an empty one. */
export function pageFrom<Row extends { readonly id: string }, Item>(
  rows: readonly Row[],
  limit: number,
  toItem: (row: Row) => Item,
): Page<Item> {
  return { items: rows.map(toItem), nextCursor: rows.length < limit ? null : (rows.at(-1)?.id ?? null) };
}
