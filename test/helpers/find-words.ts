// Looks for words (secrets, names) in everything that an installation keeps or has said: workflow histories, raw and decoded,
// rows of every table, files. It says where it found which; what may stand where is the caller's matter.
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '@temporalio/client';
import type { Payload, PayloadCodec } from '@temporalio/common';
import pg from 'pg';
import { rowsOf } from './database-rows.ts';

/** What is looked for, by what it is called. */
export type Words = ReadonlyMap<string, string>;

/** A word as it is, and as programs like to write it. */
function formsOf(word: string): string[] {
  const bytes = Buffer.from(word);
  const base64 = bytes.toString('base64').replace(/=+$/, '');
  return [
    ...new Set([
      word,
      base64,
      bytes.toString('base64url'),
      bytes.toString('hex'),
      encodeURIComponent(word),
      JSON.stringify(word).slice(1, -1),
    ]),
  ];
}

export function wordsIn(text: string | Buffer, words: Words): string[] {
  return [...words].filter(([, word]) => formsOf(word).some((form) => text.includes(form))).map(([name]) => name);
}

export interface Find {
  readonly where: string;
  readonly words: readonly string[];
}

/** Every file below a folder whose path is not let out. */
export async function searchFiles(folder: string, words: Words, isLetOut: (path: string) => boolean): Promise<Find[]> {
  const finds: Find[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || isLetOut(path)) continue;
    const found = wordsIn(await readFile(path), words);
    if (found.length > 0) finds.push({ where: path, words: found });
  }
  return finds;
}

/** Every row of every table, as text. */
export async function searchRows(databaseUrl: string, words: Words): Promise<{ finds: Find[]; rows: number }> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    const finds: Find[] = [];
    let rows = 0;
    for await (const { table, row } of rowsOf(client)) {
      rows += 1;
      const hits = wordsIn(row, words);
      if (hits.length > 0) finds.push({ where: `table ${table}`, words: hits });
    }
    return { finds, rows };
  } finally {
    await client.end();
  }
}

/** What the engine keeps of every workflow: its history, and how it describes it, as it is and opened with the codec. */
export async function searchHistories(
  client: Client,
  codec: PayloadCodec,
  words: { readonly raw: Words; readonly open: Words },
) {
  const finds: Find[] = [];
  let payloads = 0;
  for await (const { workflowId, runId, type } of client.workflow.list()) {
    const handle = client.workflow.getHandle(workflowId, runId);
    const execution = { workflowId, runId };
    const described = await client.workflowService.describeWorkflowExecution({ namespace: 'default', execution });
    for (const [what, kept] of [
      ['history', await handle.fetchHistory()],
      ['description', described],
    ] as const) {
      const where = `${what} of ${type} ${workflowId}`;
      const seen = { texts: [] as string[], sealed: [] as Payload[] };
      collect(kept, seen);
      payloads += seen.sealed.length;
      const raw = wordsIn(seen.texts.join('\n'), words.raw);
      if (raw.length > 0) finds.push({ where: `${where}, raw`, words: raw });
      const opened = await codec.decode(seen.sealed);
      const open = wordsIn(opened.map(({ data }) => Buffer.from(data ?? []).toString('latin1')).join('\n'), words.open);
      if (open.length > 0) finds.push({ where: `${where}, opened`, words: open });
    }
  }
  return { finds, payloads };
}

/** Everything in a message that is text or bytes; what is encrypted also by itself. */
function collect(value: unknown, seen: { readonly texts: string[]; readonly sealed: Payload[] }): void {
  if (typeof value === 'string') seen.texts.push(value);
  else if (value instanceof Uint8Array) seen.texts.push(Buffer.from(value).toString('latin1'));
  else if (Array.isArray(value)) for (const item of value) collect(item, seen);
  else if (value !== null && typeof value === 'object') {
    const { metadata } = value as Payload;
    const encoding =
      metadata instanceof Object
        ? Buffer.from((metadata as Record<string, Uint8Array>)['encoding'] ?? []).toString()
        : '';
    if (encoding === 'binary/encrypted') seen.sealed.push(value);
    for (const [name, item] of Object.entries(value)) {
      seen.texts.push(name);
      collect(item, seen);
    }
  }
}
