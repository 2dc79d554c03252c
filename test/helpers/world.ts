// A lab and an installation for one test file, both in a folder of their own, both sites registered and the source
// cluster configured. Everything is stopped and removed at the end, also after a failure.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreePort, startInstallation, type Installation } from '../../demo/harness/installation.ts';
import { findFreeNet, startLab, type Lab } from '../../demo/harness/lab-process.ts';
import { configureSourceCluster, registerSites, type Sites } from '../../demo/harness/operations.ts';
import type { Scenario } from '../../demo/harness/scenario.ts';

/** What a test drives. `close` stops all of it; with LANDFALL_KEEP set the folder stays for a look. */
export interface World {
  readonly lab: Lab;
  readonly installation: Installation;
  readonly sites: Sites;
  readonly home: string;
  close(): Promise<void>;
}

/** A worker of the test's own, started in place of the installation's. */
export interface OwnWorker {
  start(installation: Installation): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a world with this scenario; takes some seconds and 127.x loopback nets of its own. */
export async function openWorld(scenario: Scenario, worker?: OwnWorker): Promise<World> {
  const home = await mkdtemp(join(tmpdir(), 'landfall-test-'));
  // Files that run at once must not find the same place free.
  const place = Number(process.env['VITEST_POOL_ID'] ?? '1') - 1;
  const net = await findFreeNet(100 + place * 10, 109 + place * 10);
  const apiPort = await findFreePort(18743 + place * 100);
  const started: { lab?: Lab; installation?: Installation } = {};
  const close = async (): Promise<void> => {
    await worker?.stop();
    await started.installation?.stop();
    await started.lab?.stop();
    if (process.env['LANDFALL_KEEP'] === undefined) await rm(home, { recursive: true, force: true });
  };
  try {
    const lab = await startLab({ home: join(home, 'lab'), net, scenario });
    started.lab = lab;
    const withoutWorker = worker !== undefined;
    const installation = await startInstallation({ home: join(home, 'installation'), apiPort, withoutWorker });
    started.installation = installation;
    await worker?.start(installation);
    const sites = await registerSites(installation, lab);
    await configureSourceCluster(installation, sites);
    return { lab, installation, sites, home, close };
  } catch (error) {
    await close();
    throw error;
  }
}
