/**
 * Files and folders of datastores: looked up, made, deleted. Every function may be repeated. It must not touch
 * virtual disks (see disks.ts) nor move bytes (see datastore-transfer.ts).
 */
import { MigrationError } from '../core/index.ts';
import { isFault } from './faults.ts';
import { datastorePath, fileNameOf, folderOf, parseDatastorePath } from './paths.ts';
import { readObject, readObjects } from './properties.ts';
import type { MoRef } from './schema.ts';
import type { VsphereSession } from './session.ts';
import { runTask, type TaskOptions } from './tasks.ts';
import type { HostDatastoreBrowserSearchResults } from './types.gen.ts';

/** Where files live: the datacenter also as a path, because file addresses name it so. */
export interface FilePlace {
  readonly datacenter: MoRef<'Datacenter'>;
  readonly datacenterPath: string;
}

/** Size in bytes as the datastore reports it, or undefined when there is no such file. */
export async function fileSize(session: VsphereSession, place: FilePlace, path: string): Promise<number | undefined> {
  const browser = await browserOf(session, place, parseDatastorePath(path).datastore);
  const args = { datastorePath: folderOf(path), searchSpec: searchSpec(fileNameOf(path)) };
  try {
    const found = (await runTask(session, browser, 'SearchDatastore_Task', args)) as
      HostDatastoreBrowserSearchResults | undefined;
    const size = found?.file?.find((file) => file.path === fileNameOf(path))?.fileSize;
    return size === undefined ? undefined : Number(size);
  } catch (error) {
    if (isFault(error, 'FileNotFound')) return undefined;
    throw error;
  }
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
  try {
    const args = { datastorePath: folder, searchSpec: searchSpec(pattern) };
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

/** Names in one folder itself, folders included, that match a pattern. Empty when there is no folder. */
export async function searchNames(
  session: VsphereSession,
  browser: MoRef<'HostDatastoreBrowser'>,
  folder: string,
  pattern: string,
): Promise<string[]> {
  try {
    const args = { datastorePath: folder, searchSpec: searchSpec(pattern) };
    const results = (await runTask(session, browser, 'SearchDatastore_Task', args)) as
      HostDatastoreBrowserSearchResults | undefined;
    return (results?.file ?? []).map(({ path }) => path);
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

function searchSpec(pattern: string) {
  return {
    matchPattern: [pattern],
    details: { fileType: true, fileSize: true, modification: false, fileOwner: false },
  };
}

async function browserOf(
  session: VsphereSession,
  place: FilePlace,
  datastore: string,
): Promise<MoRef<'HostDatastoreBrowser'>> {
  const { values } = await readObject(session, place.datacenter, ['datastore']);
  const datastores = await readObjects(session, 'Datastore', values.datastore ?? [], ['name', 'browser']);
  const browser = datastores.find((candidate) => candidate.values.name === datastore)?.values.browser;
  if (browser) return browser;
  throw new MigrationError('VSPHERE_NOT_FOUND', `There is no datastore named "${datastore}"`);
}
