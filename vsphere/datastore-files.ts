/**
 * Files and folders of datastores: looked up, made, sent, fetched, deleted. Every function may be repeated. It must
 * not touch virtual disks (see disks.ts).
 */
import { Readable } from 'node:stream';
import { MigrationError } from '../core/index.ts';
import { isFault } from './faults.ts';
import { datastorePath, parseDatastorePath } from './paths.ts';
import type { MoRef } from './schema.ts';
import type { VsphereSession } from './session.ts';
import { runTask, type TaskOptions } from './tasks.ts';
import { networkError, type SendOptions } from './transport.ts';
import type { HostDatastoreBrowserSearchResults } from './types.gen.ts';

/** Where files live: the datacenter also as a path, because file addresses name it so. */
export interface FilePlace {
  readonly datacenter: MoRef<'Datacenter'>;
  readonly datacenterPath: string;
}

export interface UploadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes sent so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/** No byte for this long ends a transfer: a slow link still moves something. */
const transferIdleTimeoutMs = 60_000;

/**
 * Sends a file, replacing one of the same name. An interrupted upload leaves a short file; repeating replaces it.
 * `sizeBytes` is checked against what the server then has.
 */
export async function uploadFile(
  session: VsphereSession,
  place: FilePlace,
  path: string,
  source: Readable | Uint8Array,
  sizeBytes: number,
  options: UploadOptions = {},
): Promise<void> {
  const body = options.onProgress ? counted(source, options.onProgress) : source;
  const response = await transfer(session, place, path, {
    method: 'PUT',
    headers: { 'content-length': String(sizeBytes), 'content-type': 'application/octet-stream' },
    body,
    signal: options.signal,
  });
  await response.body.dump();
  if (response.statusCode >= 300) throw httpError(session, 'Upload of', path, response.statusCode);
  const arrived = await fileSize(session, place, path);
  if (arrived !== sizeBytes) {
    throw new MigrationError('VSPHERE_UNREACHABLE', `Upload of ${path} ended at ${arrived ?? 0} of ${sizeBytes} bytes`);
  }
}

/** Fetches a file as a stream that the caller must consume or destroy. */
export async function downloadFile(
  session: VsphereSession,
  place: FilePlace,
  path: string,
  signal?: AbortSignal,
): Promise<Readable> {
  const response = await transfer(session, place, path, { method: 'GET', signal });
  if (response.statusCode === 200) return response.body;
  await response.body.dump();
  throw httpError(session, 'Download of', path, response.statusCode);
}

/** A small file whole. */
export async function readFile(session: VsphereSession, place: FilePlace, path: string): Promise<Buffer> {
  try {
    return Buffer.concat(await (await downloadFile(session, place, path)).toArray());
  } catch (error) {
    throw error instanceof MigrationError ? error : networkError(session.address, error);
  }
}

/** Size in bytes, or undefined when there is no such file. */
export async function fileSize(session: VsphereSession, place: FilePlace, path: string): Promise<number | undefined> {
  const response = await transfer(session, place, path, { method: 'HEAD' });
  await response.body.dump();
  if (response.statusCode === 404) return undefined;
  if (response.statusCode !== 200) throw httpError(session, 'Size of', path, response.statusCode);
  const length = response.headers['content-length'];
  return typeof length === 'string' ? Number(length) : undefined;
}

/** Makes a folder and its parents; nothing to do when it is there. */
export async function makeFolder(session: VsphereSession, place: FilePlace, path: string): Promise<void> {
  try {
    const args = { name: path, datacenter: place.datacenter, createParentDirectories: true };
    await session.call(session.manager('fileManager'), 'MakeDirectory', args);
  } catch (error) {
    if (!isFault(error, 'FileAlreadyExists')) throw error;
  }
}

/**
 * Makes a folder that did not exist before: `path`, else `path_1`, `path_2`, ... Repeating makes another one, so
 * callers record the result, or use `makeFolder` on a name that is theirs alone.
 */
export async function makeUniqueFolder(session: VsphereSession, place: FilePlace, path: string): Promise<string> {
  for (let attempt = 0; attempt < uniqueNamesMax; attempt++) {
    const candidate = attempt === 0 ? path : `${path}_${attempt}`;
    try {
      const args = { name: candidate, datacenter: place.datacenter, createParentDirectories: false };
      await session.call(session.manager('fileManager'), 'MakeDirectory', args);
      return candidate;
    } catch (error) {
      if (!isFault(error, 'FileAlreadyExists')) throw error;
    }
  }
  throw new MigrationError('VSPHERE_FILE_EXISTS', `No free folder name like ${path}`);
}

const uniqueNamesMax = 100;

/** Deletes a file or a folder with everything in it; nothing to do when it is gone. */
export async function deleteFile(
  session: VsphereSession,
  place: FilePlace,
  path: string,
  options?: TaskOptions,
): Promise<void> {
  try {
    const args = { name: path, datacenter: place.datacenter };
    await runTask(session, session.manager('fileManager'), 'DeleteDatastoreFile_Task', args, options);
  } catch (error) {
    if (!isFault(error, 'FileNotFound')) throw error;
  }
}

export interface FoundFile {
  readonly path: string;
  readonly sizeBytes: bigint;
}

/** Files below a folder (`[datastore] folder`) that match a pattern such as `*.iso`. Empty when there is no folder. */
export async function searchFiles(
  session: VsphereSession,
  browser: MoRef<'HostDatastoreBrowser'>,
  folder: string,
  pattern = '*',
): Promise<FoundFile[]> {
  const searchSpec = {
    matchPattern: [pattern],
    details: { fileType: true, fileSize: true, modification: false, fileOwner: false },
  };
  try {
    const args = { datastorePath: folder, searchSpec };
    const results = (await runTask(session, browser, 'SearchDatastoreSubFolders_Task', args)) as
      HostDatastoreBrowserSearchResults[] | undefined;
    return (results ?? []).flatMap(({ folderPath, file }) =>
      (file ?? [])
        .filter(({ _type }) => _type !== 'FolderFileInfo')
        .map(({ path, fileSize }) => ({ path: joinFolder(folderPath ?? folder, path), sizeBytes: fileSize ?? 0n })),
    );
  } catch (error) {
    if (isFault(error, 'FileNotFound')) return [];
    throw error;
  }
}

/** Servers write folders with and without a slash at the end. */
function joinFolder(folder: string, name: string): string {
  const { datastore, path } = parseDatastorePath(folder);
  return datastorePath(datastore, path.replace(/\/$/, ''), name);
}

/** One HTTP exchange about a file; logs in again once when the session has expired. */
async function transfer(
  session: VsphereSession,
  place: FilePlace,
  path: string,
  request: Omit<SendOptions, 'path' | 'idleTimeoutMs'>,
) {
  const file = parseDatastorePath(path);
  const folders = file.path.split('/').map(encodeURIComponent).join('/');
  const query = new URLSearchParams({ dcPath: place.datacenterPath.replace(/^\//, ''), dsName: file.datastore });
  const send = () =>
    session.transport.send({
      ...request,
      path: `/folder/${folders}?${query.toString()}`,
      headers: { ...request.headers, cookie: session.cookie() },
      idleTimeoutMs: transferIdleTimeoutMs,
    });
  const response = await send();
  if (response.statusCode !== 401 || request.body instanceof Readable) return response;
  await response.body.dump();
  await session.call({ type: 'ServiceInstance', value: 'ServiceInstance' }, 'CurrentTime', {});
  return send();
}

function httpError(session: VsphereSession, what: string, path: string, status: number): MigrationError {
  const message = `${what} ${path} on ${session.address} failed with HTTP status ${status}`;
  if (status === 404) return new MigrationError('VSPHERE_NOT_FOUND', message);
  if (status === 401 || status === 403) return new MigrationError('VSPHERE_NO_PERMISSION', message);
  if (status === 507) return new MigrationError('VSPHERE_NO_SPACE', message);
  return new MigrationError('VSPHERE_UNREACHABLE', message);
}

function counted(source: Readable | Uint8Array, onProgress: (bytes: number) => void): Readable {
  const input = source instanceof Readable ? source : Readable.from([source]);
  let sent = 0;
  return input.map((chunk: Uint8Array) => {
    sent += chunk.length;
    onProgress(sent);
    return chunk;
  });
}
