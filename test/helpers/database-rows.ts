// Everything that the database of an installation holds, as text: for looking what rests there in clear.
import type pg from 'pg';

export interface TextRow {
  readonly table: string;
  readonly row: string;
}

/** Every row of every table. */
export async function* rowsOf(connection: Pick<pg.Pool, 'query'>): AsyncGenerator<TextRow> {
  const tables = await connection.query<{ name: string }>(
    `SELECT format('%I', table_name) AS name FROM information_schema.tables WHERE table_schema = 'public'`,
  );
  for (const { name } of tables.rows) {
    const { rows } = await connection.query<{ row: string }>(`SELECT t::text AS row FROM ${name} AS t`);
    for (const { row } of rows) yield { table: name, row };
  }
}
