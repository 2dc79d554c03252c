/**
 * Datastore paths as vSphere writes them: `[datastore] folder/file`. Pure text; it must not ask a server.
 */
import { MigrationError } from '../core/index.ts';

export interface DatastorePath {
  readonly datastore: string;
  /** Without a leading slash; empty for the datastore itself. */
  readonly path: string;
}

export function parseDatastorePath(text: string): DatastorePath {
  const match = /^\[([^\]]+)\]\s*(.*)$/.exec(text);
  if (!match) throw new MigrationError('VSPHERE_INVALID_ARGUMENT', `"${text}" is not a datastore path`);
  return { datastore: match[1] ?? '', path: match[2] ?? '' };
}

export function datastorePath(datastore: string, ...parts: readonly string[]): string {
  return `[${datastore}] ${parts.filter((part) => part !== '').join('/')}`.trimEnd();
}

/** The folder that a file lies in, as a datastore path. */
export function folderOf(text: string): string {
  const { datastore, path } = parseDatastorePath(text);
  return datastorePath(datastore, path.split('/').slice(0, -1).join('/'));
}

export function fileNameOf(text: string): string {
  return parseDatastorePath(text).path.split('/').at(-1) ?? '';
}
