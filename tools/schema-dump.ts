/**
 * The database schema as text, by our own catalog queries (the embedded Postgres brings no pg_dump). Applies all migrations to
 * an empty database and compares the dump with test/schema.sql; `--write` renews that file, so that a reviewer sees a
 * migration's effect as a difference. Also reads every model of the Prisma schema from that database. It must not touch an installation's database.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import pg from 'pg';
import { migrate, openDatabase } from '../db/index.ts';
import { Prisma } from '../generated/prisma/client.ts';
import { createEmptyDatabase, startTestPostgres } from './test-postgres.ts';

const expectedFile = 'test/schema.sql';
const header =
  '-- The schema after all migrations, written by tools/schema-dump.ts --write. Not for applying: for reviewing.\n';

/** Each query gives one column `line`, sorted; the book of applied migrations belongs to Prisma and is left out. */
const ours = `n.nspname = 'public' and c.relname <> '_prisma_migrations'`;
const sections: readonly (readonly [title: string, query: string])[] = [
  [
    'Types',
    `select format('%I: %s', t.typname, string_agg(e.enumlabel, ', ' order by e.enumsortorder)) as line
       from pg_type t join pg_enum e on e.enumtypid = t.oid join pg_namespace n on n.oid = t.typnamespace
      where n.nspname = 'public' group by t.typname order by t.typname`,
  ],
  [
    'Columns',
    `select format('%I.%I %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                  case when a.attnotnull then ' not null' end,
                  case when a.attidentity <> '' then ' identity'
                       when a.attgenerated <> '' then ' generated ' || pg_get_expr(d.adbin, d.adrelid)
                       else ' default ' || pg_get_expr(d.adbin, d.adrelid) end) as line
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
       join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
       left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
      where ${ours} and c.relkind in ('r', 'p', 'v', 'm') order by c.relname, a.attname`,
  ],
  [
    'Constraints',
    `select format('%I.%I: %s', c.relname, k.conname, pg_get_constraintdef(k.oid)) as line
       from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
      where ${ours} and k.contype <> 'n' order by c.relname, k.conname`,
  ],
  [
    'Indexes',
    `select pg_get_indexdef(i.indexrelid) as line
       from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
      where ${ours} order by 1`,
  ],
  [
    'Functions',
    `select pg_get_functiondef(p.oid) as line from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname = 'public' order by p.proname, p.oid::regprocedure::text`,
  ],
  [
    'Triggers',
    `select pg_get_triggerdef(g.oid) as line
       from pg_trigger g join pg_class c on c.oid = g.tgrelid join pg_namespace n on n.oid = c.relnamespace
      where ${ours} and not g.tgisinternal order by c.relname, g.tgname`,
  ],
  [
    'Views',
    `select format('%I: %s', c.relname, pg_get_viewdef(c.oid)) as line
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where ${ours} and c.relkind in ('v', 'm') order by c.relname`,
  ],
];

async function dumpSchema(url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    let text = header;
    for (const [title, query] of sections) {
      const { rows } = await client.query<{ line: string }>(query);
      if (rows.length > 0) text += `\n-- ${title}\n${rows.map(({ line }) => `${line}\n`).join('')}`;
    }
    return text;
  } finally {
    await client.end();
  }
}

/** Reads every column that prisma/schema.prisma names: one that the migrations do not make is an error here. */
async function readEveryModel(url: string): Promise<void> {
  const database = openDatabase(url);
  try {
    const delegates = database.prisma as unknown as Record<string, { findFirst(): Promise<unknown> }>;
    for (const model of Object.values(Prisma.ModelName)) {
      const delegate = delegates[model.charAt(0).toLowerCase() + model.slice(1)];
      if (!delegate) throw new Error(`the client has no model ${model}`);
      await delegate.findFirst();
    }
  } finally {
    await database.close();
  }
}

function firstDifference(found: string, expected: string): string {
  const [has, wants] = [found.split('\n'), expected.split('\n')];
  const at = has.findIndex((line, index) => line !== wants[index]);
  const index = at === -1 ? has.length : at;
  return `line ${index + 1}\n  migrations give: ${has[index] ?? '(nothing)'}\n  the file has:    ${wants[index] ?? '(nothing)'}`;
}

const server = await startTestPostgres();
try {
  const url = await createEmptyDatabase(server.url);
  const applied = await migrate(url);
  const again = await migrate(url);
  if (again.length > 0) throw new Error(`applied twice: ${again.join(', ')}`);
  await readEveryModel(url);
  const found = await dumpSchema(url);
  if (process.argv.includes('--write')) writeFileSync(expectedFile, found);
  const expected = readFileSync(expectedFile, 'utf8');
  if (found !== expected) {
    process.stderr.write(`${expectedFile} is not what the migrations give: ${firstDifference(found, expected)}\n`);
    process.stderr.write('If the change is meant: npx tsx tools/schema-dump.ts --write\n');
    process.exitCode = 1;
  }
  process.stdout.write(`${applied.length} migrations on an empty database, then none\n`);
} finally {
  await server.stop();
}
