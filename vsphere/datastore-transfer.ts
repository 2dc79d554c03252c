/**
 * Bytes into and out of datastore files over HTTPS, as streams. May be repeated: an upload replaces what an
 * interrupted one left. It must not hold a file in memory nor wait for a peer that stopped moving.
 */
import { Readable } from 'node:stream';
import { MigrationError } from '../core/index.ts';
import { fileSize, type FilePlace } from './datastore-files.ts';
import { parseDatastorePath } from './paths.ts';
import type { VsphereSession } from './session.ts';
import { currentTime } from './site.ts';
import { networkError, type SendOptions } from './transport.ts';

export interface UploadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes sent so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
}

/** No byte for this long ends a transfer: a slow link still moves something. */
const transferIdleTimeoutMs = 60_000;
const chunkBytes = 256 * 1024;

/**
 * Sends a file, replacing one of the same name; its folder must exist. An interrupted upload leaves a short file.
 * `sizeBytes` is checked against what the datastore then has.
 */
export async function uploadFile(
  session: VsphereSession,
  place: FilePlace,
  path: string,
  source: Readable | Uint8Array,
  sizeBytes: number,
  options: UploadOptions = {},
): Promise<void> {
  // A stream cannot be sent twice, so an expired session is renewed before it is begun.
  await currentTime(session);
  const guard = idleGuard(`Upload of ${path}`, options.signal);
  try {
    const response = await send(session, place, path, {
      method: 'PUT',
      headers: { 'content-length': String(sizeBytes), 'content-type': 'application/octet-stream' },
      body: Readable.from(counted(source, guard.touch, options.onProgress)),
      idleTimeoutMs: 0,
      signal: guard.signal,
    });
    await response.body.dump();
    if (response.statusCode >= 300) throw httpError(session, 'Upload of', path, response.statusCode);
  } finally {
    guard.end();
  }
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
  const request = { method: 'GET', idleTimeoutMs: transferIdleTimeoutMs, signal } as const;
  let response = await send(session, place, path, request);
  if (response.statusCode === 401) {
    await response.body.dump();
    await currentTime(session);
    response = await send(session, place, path, request);
  }
  if (response.statusCode === 200) return response.body;
  await response.body.dump();
  throw httpError(session, 'Download of', path, response.statusCode);
}

/** A small file whole, for example an NVRAM. */
export async function readFile(session: VsphereSession, place: FilePlace, path: string): Promise<Buffer> {
  try {
    return Buffer.concat(await (await downloadFile(session, place, path)).toArray());
  } catch (error) {
    throw error instanceof MigrationError ? error : networkError(session.address, error);
  }
}

function send(session: VsphereSession, place: FilePlace, path: string, request: Omit<SendOptions, 'path'>) {
  const file = parseDatastorePath(path);
  const folders = file.path.split('/').map(encodeURIComponent).join('/');
  const query = new URLSearchParams({ dcPath: place.datacenterPath.replace(/^\//, ''), dsName: file.datastore });
  return session.transport.send({
    ...request,
    path: `/folder/${folders}?${query.toString()}`,
    headers: { ...request.headers, cookie: session.cookie() },
  });
}

async function* counted(
  source: Readable | Uint8Array,
  touch: () => void,
  onProgress: ((bytes: number) => void) | undefined,
): AsyncGenerator<Uint8Array> {
  let sent = 0;
  for await (const chunk of source instanceof Uint8Array ? slices(source) : (source as AsyncIterable<Uint8Array>)) {
    yield chunk;
    touch();
    sent += chunk.length;
    onProgress?.(sent);
  }
}

function* slices(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

/** Aborts when nothing moved for a while. The HTTP library's own limits count a slow upload as a silent server. */
function idleGuard(what: string, outer: AbortSignal | undefined) {
  const stalled = new AbortController();
  const expire = (): void => stalled.abort(new MigrationError('VSPHERE_TIMEOUT', `${what} stopped moving`));
  const timer = setTimeout(expire, transferIdleTimeoutMs);
  return {
    signal: outer ? AbortSignal.any([stalled.signal, outer]) : stalled.signal,
    touch: () => void timer.refresh(),
    end: () => clearTimeout(timer),
  };
}

function httpError(session: VsphereSession, what: string, path: string, status: number): MigrationError {
  const message = `${what} ${path} on ${session.address} failed with HTTP status ${status}`;
  if (status === 404) return new MigrationError('VSPHERE_NOT_FOUND', message);
  if (status === 401 || status === 403) return new MigrationError('VSPHERE_NO_PERMISSION', message);
  if (status === 507) return new MigrationError('VSPHERE_NO_SPACE', message);
  return new MigrationError('VSPHERE_UNREACHABLE', message);
}
