/**
 * The keys in an installation's home. `landfall up` and the API make them where there are none; a worker needs those that
 * the installation has, because what it made itself would open nothing that others wrote. It must not read a key.
 */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { MigrationError } from '../core/index.ts';
import { openAuthority } from '../dataplane/client/index.ts';
import { openPayloadKeys, payloadKeysFile } from '../temporal/payload-keys.ts';

/** May be called at every start, by several processes. */
export async function ensureAuthority(home: string): Promise<void> {
  await openAuthority(join(home, 'authority'));
  await openPayloadKeys(payloadKeysFile(home));
}

/** Throws AUTHORITY_UNREADABLE where a file is missing, and makes none. */
export async function requireAuthority(home: string): Promise<void> {
  for (const file of [join(home, 'authority', 'authority.json'), payloadKeysFile(home)]) {
    try {
      await access(file);
    } catch (cause) {
      throw new MigrationError('AUTHORITY_UNREADABLE', `${file} is not there or cannot be reached`, {
        remedy:
          'Share the folder "authority" of the installation to this machine and name the folder above it in LANDFALL_HOME. ' +
          'Its first start makes it: "landfall up", or the API.',
        cause,
      });
    }
  }
}
