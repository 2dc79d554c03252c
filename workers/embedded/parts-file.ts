/**
 * `run/parts.json`: how each part of this installation is, for the API to show. The supervisor writes it at every change,
 * whole or not at all; it says nothing when nothing changes. It must not decide anything.
 */
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { InstallationPart } from '../../contracts/rest.ts';

export interface PartsFile {
  readonly note: (part: InstallationPart) => void;
  readonly remove: () => void;
}

export function partsFileIn(home: string): string {
  return join(home, 'run', 'parts.json');
}

export function openPartsFile(home: string): PartsFile {
  const path = partsFileIn(home);
  const parts = new Map<string, InstallationPart>();
  return {
    note: (part) => {
      parts.set(part.name, part);
      writeFileSync(`${path}.new`, `${JSON.stringify([...parts.values()], null, 1)}\n`, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    },
    remove: () => rmSync(path, { force: true }),
  };
}
