// A worker of the product, as it was built, whose activities suffer what a test ordered (step-faults.ts). A process of its
// own, so that it can be killed. It composes the product's worker; no activity is replaced.

import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { resolve } from 'node:path';
import { Context } from '@temporalio/activity';
import { CancelledFailure } from '@temporalio/common';
import type * as Activities from '../../activities/index.ts';
import type * as Core from '../../core/index.ts';
import type * as RunWorker from '../../workers/run-worker.ts';
import { StepFaults, clusterOrders, type ActivityName, type Fault } from './step-faults.ts';

const built = (path: string): string => pathToFileURL(resolve('dist', path)).href;
const { runWorker } = (await import(built('workers/run-worker.js'))) as typeof RunWorker;
const { makeActivities } = (await import(built('activities/index.js'))) as typeof Activities;
const { MigrationError } = (await import(built('core/index.js'))) as typeof Core;
type Services = Parameters<typeof makeActivities>[0];
type Activity = (input: unknown) => Promise<unknown>;

const lookEveryMs = 50;
/** One kill is for all whose turn it is within this time: a worker takes seconds to start. */
const gatherMs = 2_000;
/** Most activities take some ten milliseconds: the kill hits them at work. */
const killWithinMs = 40;

const always: readonly Fault[] = ['twice', 'hold'];
const kills: readonly Fault[] = ['kill-during', 'kill-after'];

const faults = new StepFaults(process.argv[2] ?? '');
const names = new Map<string, string>();
let gathering: Promise<void> | undefined;

await runWorker((services) => {
  const activities = Object.entries(makeActivities(services)) as [ActivityName, Activity][];
  const struck = activities.map(([name, run]) => [name, (input: unknown) => suffer(services, name, input, run)]);
  return Object.fromEntries(struck) as ReturnType<typeof makeActivities>;
});

async function suffer(services: Services, name: ActivityName, input: unknown, run: Activity): Promise<unknown> {
  const subject = await subjectOf(services, input);
  const fault = subject === undefined ? undefined : await nextFault(subject, name);
  if (subject === undefined || fault === undefined) return run(input);
  switch (fault) {
    case 'twice':
      await run(input);
      return run(input);
    case 'lost':
      await run(input);
      throw new MigrationError('VSPHERE_TIMEOUT', `The answer of ${name} is lost`);
    case 'fail-before':
      throw failure(name);
    case 'fail-after':
      await run(input);
      throw failure(name);
    case 'kill-during':
      await gathered();
      return Promise.all([run(input), kill(subject, name, fault, Math.random() * killWithinMs)]);
    case 'kill-after':
      await run(input);
      await gathered();
      return kill(subject, name, fault, killWithinMs);
    case 'hold': {
      const answer = await run(input);
      await hold(subject, name);
      return answer;
    }
  }
}

function failure(name: ActivityName): Error {
  return new MigrationError('VSPHERE_FAULT', `${name} fails because the test wants it`);
}

/** Returns to all who wait at the same moment. */
function gathered(): Promise<void> {
  gathering ??= sleep(gatherMs);
  return gathering;
}

/** Never returns. It goes on record only now that it strikes: until then the kill of another may have come first. */
async function kill(subject: string, name: ActivityName, fault: Fault, afterMs: number): Promise<never> {
  await faults.claim(subject, name, fault);
  await sleep(afterMs);
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => undefined);
}

async function hold(subject: string, name: ActivityName): Promise<void> {
  await faults.claim(subject, name, 'held');
  const { cancellationSignal } = Context.current();
  while (!(await faults.happened(subject, name, 'released'))) {
    if (cancellationSignal.aborted) throw new CancelledFailure('cancelled while it was held');
    await sleep(lookEveryMs);
  }
}

/** The first order for this activity that was not carried out yet. */
async function nextFault(subject: string, name: ActivityName): Promise<Fault | undefined> {
  for (const { fault, activities } of await faults.ordersOf(subject)) {
    if (!activities.includes(name)) continue;
    const isNew = kills.includes(fault)
      ? !(await faults.happened(subject, name, fault))
      : await faults.claim(subject, name, fault);
    if (isNew || always.includes(fault)) return fault;
  }
  return undefined;
}

/** Whom the orders are for: the VM by its name, or the cluster; nobody where neither is named. */
async function subjectOf(services: Services, input: unknown): Promise<string | undefined> {
  const { vmMigrationId, clusterId } = (input ?? {}) as { vmMigrationId?: string; clusterId?: string };
  if (clusterId !== undefined) return clusterOrders;
  if (vmMigrationId === undefined) return undefined;
  const known = names.get(vmMigrationId);
  if (known !== undefined) return known;
  const { vmName } = await services.database.prisma.vmMigration.findUniqueOrThrow({ where: { id: vmMigrationId } });
  names.set(vmMigrationId, vmName);
  return vmName;
}
