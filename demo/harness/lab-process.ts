// Starts and drives one lab (`build/lab up`): two vCenters, real guests, the WAN between them.
// For the demo and the tests only. The product never imports this folder: to it the lab is just two vCenters.

import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { firstJsonLine, isFree, stopChild } from './child.ts';
import { LabControl } from './lab-control.ts';
import type { Scenario } from './scenario.ts';

/** How long a lab may take to seed its disks, boot its vCenters and say that it is ready. */
const READY_TIMEOUT_MS = 180_000;
/** How long a lab may take to stop everything it started. */
const STOP_TIMEOUT_MS = 15_000;

/** Where one of the lab's vCenters answers, and how to log in. The address is the one that the product is told. */
export interface LabSite {
  readonly address: string;
  readonly user: string;
  readonly password: string;
  readonly thumbprintSha256: string;
}

interface ReadyLine {
  readonly ready: true;
  readonly control: string;
  readonly source: LabSite;
  readonly destination: LabSite;
}

/** A running lab. `stop` ends every process that it started and may be called twice. */
export interface Lab {
  readonly net: string;
  readonly home: string;
  readonly source: LabSite;
  readonly destination: LabSite;
  readonly control: LabControl;
  readonly pid: number;
  stop(): Promise<void>;
}

/** Finds a loopback net 127.N that nobody uses; several labs can then run side by side on the default ports. */
export async function findFreeNet(first: number, last: number): Promise<string> {
  for (let candidate = first; candidate <= last; candidate += 1) {
    const net = `127.${String(candidate)}`;
    if (await isFree(`${net}.1.1`, 8443)) return net;
  }
  throw new Error(`No free loopback net between 127.${String(first)} and 127.${String(last)}: stop another lab first`);
}

/**
 * Starts a lab in `home` and waits until both vCenters answer. The lab's own log goes to `home/lab.log`.
 * Throws with the end of that log's path when the lab ends before it is ready.
 */
export async function startLab(options: {
  readonly home: string;
  readonly net: string;
  readonly scenario: Scenario;
  readonly buildDirectory?: string;
}): Promise<Lab> {
  const build = resolve(options.buildDirectory ?? 'build');
  await mkdir(options.home, { recursive: true });
  const scenarioFile = join(options.home, 'scenario.json');
  await writeFile(scenarioFile, JSON.stringify(options.scenario, null, 2));
  const child = spawn(
    join(build, 'lab'),
    ['up', '--home', join(options.home, 'world'), '--net', options.net, '--build', build, '--scenario', scenarioFile],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const logFile = join(options.home, 'lab.log');
  child.stderr.pipe(createWriteStream(logFile));
  const ready = await firstJsonLine<ReadyLine>(child, {
    timeoutMs: READY_TIMEOUT_MS,
    whenEnded: `The lab ended before it was ready; its log is ${logFile}`,
  });
  return {
    net: options.net,
    home: options.home,
    source: ready.source,
    destination: ready.destination,
    control: new LabControl(ready.control),
    pid: child.pid ?? 0,
    stop: () => stopChild(child, STOP_TIMEOUT_MS),
  };
}
